from __future__ import annotations

import re

import numpy as np
import pytest

from colbert_rag import validation
from colbert_rag.errors import InvalidQueryError, InvalidVectorsError
from colbert_rag.types import Document, TokenVectors

UNITS = np.eye(3, 4, dtype=np.float32)
SPANS = np.array([[0, 1], [1, 1], [2, 4]], np.int32)
DOCUMENT = Document("a", "text")


class TestTokenVectors:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_unit_vectors_are_taken(self, dtype):
        validation.check_token_vectors(DOCUMENT, TokenVectors(UNITS.astype(dtype), SPANS), 4)
        validation.check_token_vectors(DOCUMENT, TokenVectors(UNITS.astype(dtype) * 1.015, SPANS.astype(np.int64)), 4)

    @pytest.mark.parametrize(
        ("vectors", "words"),
        [
            (UNITS[:, :3], "vectors must have the shape (T, 4) with T >= 1, found (3, 3)"),
            (UNITS[0], "found (4,)"),
            (UNITS[None], "found (1, 3, 4)"),
            (UNITS[:0], "found (0, 4)"),
            (UNITS.astype(np.int32), "vectors must be float16 or float32, found int32"),
            (UNITS.astype(np.complex64), "found complex64"),
            (UNITS.astype(object), "found object"),
            (UNITS.astype(">f4"), "found >f4"),
            (np.where(UNITS == 1, np.nan, UNITS), "vector 0 is not finite"),
            (np.float64(UNITS) * 1e300, "vector 0 has length inf"),
            (np.concatenate([UNITS[:2], [[np.inf, 0, 0, 0]]]), "vector 2 is not finite"),
            (UNITS * np.array([[1], [0], [1]]), "vector 1 has length 0.0000, vectors must have unit length"),
            (UNITS * np.array([[1], [1], [3]]), "vector 2 has length 3.0000"),
            (UNITS * 1.03, "unit length; normalise them"),
            ([[1.0, 0.0, 0.0, 0.0], [1.0]], "the vectors or the spans are no array"),
        ],
    )
    def test_unusable_vectors_are_refused_with_the_document(self, vectors, words):
        with pytest.raises(InvalidVectorsError, match=f"^document 'a': .*{re.escape(words)}"):
            validation.check_token_vectors(DOCUMENT, TokenVectors(vectors, SPANS), 4)

    @pytest.mark.parametrize(
        ("spans", "words"),
        [
            (SPANS[:2], "spans must be integers of shape (3, 2), found int32 (2, 2)"),
            (SPANS.astype(np.float32), "found float32 (3, 2)"),
            (SPANS.ravel(), "found int32 (6,)"),
            (SPANS[:, ::-1], "0 <= start <= end <= 4, the length of the text"),
            (SPANS - 1, "0 <= start <= end"),
            (SPANS + 1, "end <= 4"),
            ([[0, 1], [1], [2, 4]], "the vectors or the spans are no array"),
        ],
    )
    def test_unusable_spans_are_refused_with_the_document(self, spans, words):
        with pytest.raises(InvalidVectorsError, match=f"^document 'a': .*{re.escape(words)}"):
            validation.check_token_vectors(DOCUMENT, TokenVectors(UNITS, spans), 4)

    @pytest.mark.parametrize("tokens", [None, UNITS, (UNITS, SPANS)])
    def test_anything_but_token_vectors_is_refused(self, tokens):
        with pytest.raises(InvalidVectorsError, match=r"document 'a': expected colbert_rag\.TokenVectors, found"):
            validation.check_token_vectors(DOCUMENT, tokens, 4)


class TestQueryVectors:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_query_vectors_become_contiguous_float32(self, dtype):
        found = validation.check_query_vectors(np.asfortranarray(UNITS.astype(dtype)), 4)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, UNITS)

    def test_lengths_may_be_weights_of_mean_one(self):
        weighted = UNITS * np.array([[0.25], [2], [0.75]], np.float32)
        np.testing.assert_array_equal(validation.check_query_vectors(weighted, 4), weighted)
        with pytest.raises(InvalidVectorsError, match="must have unit length"):
            validation.check_token_vectors(DOCUMENT, TokenVectors(weighted, SPANS), 4)

    @pytest.mark.parametrize(
        ("vectors", "words"),
        [
            (UNITS[:, :3], "query: vectors must have the shape (Q, 4) with Q >= 1, found (3, 3)."),
            (UNITS[0], "found (4,)"),
            (UNITS[:0], "found (0, 4)"),
            ("query", "found ()"),
            (UNITS.astype(int), "must be float16 or float32, found int64"),
            (UNITS * np.nan, "vector 0 is not finite"),
            (UNITS * np.float32(3e38), "the vectors have length inf in the mean"),
            (UNITS * 2, "the vectors have length 2.0000 in the mean; they must have unit length"),
            (UNITS * np.array([[2], [0], [1]]), "vector 1 has length 0.0000"),
        ],
    )
    def test_unusable_query_vectors_are_refused(self, vectors, words):
        with pytest.raises(InvalidQueryError, match=re.escape(words)):
            validation.check_query_vectors(vectors, 4)
