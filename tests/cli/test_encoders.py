from __future__ import annotations

from colbert_rag import Encoder
from colbert_rag.cli.encoders import chosen_encoder, load_encoder


def test_a_name_gives_an_encoder_that_is_not_loaded_yet():
    encoder = load_encoder("builtin")
    assert isinstance(encoder, Encoder)
    assert encoder.name == "builtin"


def test_no_name_leaves_the_choice_to_the_index():
    assert chosen_encoder(None) is None
