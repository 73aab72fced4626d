from __future__ import annotations

import pytest

from colbert_rag.encoder.token_model import TokenModel, _context
from colbert_rag.errors import ModelUnsupportedError


def test_context_of_a_roberta_leaves_out_the_positions_before_the_first(tiny_tokenizer, tmp_path):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Transformer
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    model = TokenModel(MultiVectorEncoder(modules=[Transformer(str(tmp_path))], device="cpu"))
    assert model.context == 64
    [tokens] = model.tokenise(["a " * 62], "document")
    [(vectors, is_kept)] = model.encode_ids([tokens.ids], "document")
    assert vectors.shape == (64, 8)
    assert is_kept.all()


def test_model_that_prepares_text_in_its_own_way_is_refused(tiny_model, monkeypatch):
    preprocess = tiny_model[0].preprocess
    monkeypatch.setattr(tiny_model[0], "preprocess", lambda texts, **options: preprocess(["chat: " + texts[0]]))
    with pytest.raises(ModelUnsupportedError, match="its tokenizer alone cannot repeat"):
        TokenModel(tiny_model)


@pytest.mark.parametrize(("positions", "max_length", "expected"), [(-1, 48, 48), (-1, 10**30, 512), (2_048, 48, 2_048)])
def test_context_without_a_position_table_is_what_the_configuration_says(
    tiny_model, monkeypatch, positions, max_length, expected
):
    monkeypatch.setattr(tiny_model[0].auto_model.embeddings, "position_embeddings", None)
    monkeypatch.setattr(tiny_model[0].config, "max_position_embeddings", positions)
    tiny_model.tokenizer.model_max_length = max_length
    assert _context(tiny_model[0]) == expected


def test_tokenizer_without_padding_is_refused_with_what_to_set(tiny_model):
    tiny_model.tokenizer.pad_token = None
    with pytest.raises(ModelUnsupportedError, match=r"no padding token.*\"pad_token\" in tokenizer_config\.json"):
        TokenModel(tiny_model)


def test_token_beyond_the_table_of_embeddings_is_refused_with_the_numbers(tiny_model):
    import torch

    rows = tiny_model.tokenizer.convert_tokens_to_ids("##ing")
    embeddings = tiny_model[0].auto_model.embeddings
    embeddings.word_embeddings = torch.nn.Embedding(rows, 32)
    model = TokenModel(tiny_model)
    model.tokenise(["the cat"], "document")
    with pytest.raises(ModelUnsupportedError, match=rf"token id {rows}, .* ids below {rows}"):
        model.tokenise(["the cat", "the cating"], "document")
