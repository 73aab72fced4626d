from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.encoder.documents import assemble, split
from colbert_rag.encoder.tokenise import Tokens
from colbert_rag.errors import ModelUnsupportedError


def tokens_of(n_body, n_prefix=2, n_suffix=1):
    n_tokens = n_prefix + n_body + n_suffix
    spans = np.stack([np.arange(n_tokens), np.arange(n_tokens)], axis=1).astype(np.int32)
    return Tokens(np.arange(n_tokens, dtype=np.int64), spans, n_prefix, n_suffix)


@settings(deadline=None, max_examples=50)
@given(
    n_body=st.integers(0, 300),
    n_prefix=st.integers(0, 4),
    n_suffix=st.integers(0, 2),
    window=st.integers(7, 80),
    overlap=st.integers(0, 40),
)
def test_pieces_own_every_token_once_and_fit_the_window(n_body, n_prefix, n_suffix, window, overlap):
    tokens = tokens_of(n_body, n_prefix, n_suffix)
    pieces = split(tokens, window, overlap)
    assert np.concatenate([piece.ids[piece.own] for piece in pieces]).tolist() == tokens.ids.tolist()
    assert all(len(piece.ids) <= window for piece in pieces)


def test_every_piece_has_prefix_and_suffix_around_its_part():
    pieces = split(tokens_of(10), window=7, overlap=2)
    assert [piece.ids.tolist() for piece in pieces] == [
        [0, 1, 2, 3, 4, 5, 12],
        [0, 1, 4, 5, 6, 7, 12],
        [0, 1, 6, 7, 8, 9, 12],
        [0, 1, 8, 9, 10, 11, 12],
    ]


def test_window_without_room_for_text_is_refused():
    with pytest.raises(ModelUnsupportedError, match=r"window of 3 tokens leaves no room for text.*take 3"):
        split(tokens_of(10), window=3, overlap=0)


def test_skiplist_tokens_go_with_their_spans():
    tokens = tokens_of(2)
    vectors = np.arange(10, dtype=np.float16).reshape(5, 2)
    is_kept = np.array([True, True, False, True, True])
    document = assemble(tokens, split(tokens, 9, 0), [(vectors, is_kept)])
    assert document.vectors.tolist() == vectors[[0, 1, 3, 4]].tolist()
    assert document.spans[:, 0].tolist() == [0, 1, 3, 4]


def test_document_of_which_nothing_is_left_keeps_all_tokens():
    tokens = tokens_of(2)
    vectors = np.ones((5, 2), np.float16)
    document = assemble(tokens, split(tokens, 9, 0), [(vectors, np.zeros(5, bool))])
    assert len(document.vectors) == len(document.spans) == 5
