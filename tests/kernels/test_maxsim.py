from __future__ import annotations

import numpy as np
import pytest

from colbert_rag.kernels import maxsim, token_similarities

DIMS = (8, 48, 96, 100, 128)
QUERIES = (1, 31, 32, 33, 70)


def plain_loop(query, vectors, offsets):
    """MaxSim as the paper writes it, one product at a time, in float64."""
    scores = []
    for n in range(len(offsets) - 1):
        document = vectors[offsets[n] : offsets[n + 1]].astype(np.float64)
        scores.append(sum(max(float(token @ q) for token in document) for q in query.astype(np.float64)))
    return np.array(scores)


def offsets_of(n):
    return np.concatenate([[0], np.cumsum([1, 31, 32, 33, 63, 1, 2][:n])]).astype(np.int64)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dim", DIMS)
def test_maxsim_equals_a_plain_loop(unit_rows, dim, dtype):
    for n in (0, 1, 7):
        offsets = offsets_of(n)
        query, vectors = unit_rows(5, dim), unit_rows(int(offsets[-1]), dim).astype(dtype)
        scores = maxsim(query, vectors, offsets)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, plain_loop(query, vectors, offsets), atol=1e-5)


@pytest.mark.parametrize("n_query", QUERIES)
def test_maxsim_takes_queries_of_any_length(unit_rows, n_query):
    offsets = offsets_of(5)
    query, vectors = unit_rows(n_query, 48), unit_rows(int(offsets[-1]), 48)
    np.testing.assert_allclose(maxsim(query, vectors, offsets), plain_loop(query, vectors, offsets), atol=1e-4)


def test_maxsim_reads_a_read_only_memory_map(unit_rows, mapped):
    offsets = offsets_of(7)
    query, vectors = unit_rows(3, 48), unit_rows(int(offsets[-1]), 48).astype(np.float16)
    np.testing.assert_array_equal(maxsim(query, vectors, offsets), maxsim(query, mapped(vectors), mapped(offsets)))


def test_maxsim_takes_part_of_a_longer_array(unit_rows):
    offsets = offsets_of(7)
    query, vectors = unit_rows(3, 48), unit_rows(int(offsets[-1]), 48)
    np.testing.assert_array_equal(maxsim(query, vectors, offsets[2:5]), maxsim(query, vectors, offsets)[2:4])


def test_token_similarities_are_all_dot_products(unit_rows):
    query, vectors = unit_rows(3, 48), unit_rows(9, 48).astype(np.float16)
    expected = [[float(v.astype(np.float64) @ q) for q in query.astype(np.float64)] for v in vectors]
    found = token_similarities(query, vectors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
