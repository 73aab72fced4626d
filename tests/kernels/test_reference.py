from __future__ import annotations

import numpy as np
import pytest

from colbert_rag.codec.grid import BITS, grid
from colbert_rag.kernels import reference


def test_dot_scores_are_the_sum_of_the_best_products():
    query = np.array([[1, 0], [0, 1]], np.float32)
    vectors = np.array([[0.6, 0.8], [1, 0], [0, -1]], np.float32)
    scores = reference.dot_scores(query, vectors, np.array([0, 1]), np.array([1, 3]))
    np.testing.assert_allclose(scores, [0.6 + 0.8, 1 + 0])


def test_the_dot_table_has_a_row_for_every_vector_and_a_column_for_every_query_token():
    query = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    vectors = np.array([[2, 3], [5, 7]], np.float32)
    assert reference.dot_table(query, vectors).tolist() == [[2, 3, 5], [5, 7, 12]]


def test_approximate_scores_are_the_sum_of_the_best_entries():
    table = np.array([[[1, 9], [5, 2], [7, 0]]], np.uint8)
    ids = np.array([0, 1, 2], np.uint16)
    scores = reference.approximate_scores(table, ids, np.array([0, 1, 3]), np.array([2, 3, 3]))
    assert scores.tolist() == [5 + 9, 7 + 2, 0]


@pytest.mark.parametrize("bits", BITS)
def test_scores_of_compressed_tokens_equal_those_of_their_rebuilt_vectors(rng, unit_rows, bits):
    dim, k = 48, 6
    centroids, vectors = unit_rows(k, dim), unit_rows(40, dim)
    ids = (vectors @ centroids.T).argmax(axis=1)
    g = grid(bits, dim)
    codes, factors = reference.quantise(vectors, centroids[ids], g, bits)
    z = g.levels[reference.level_numbers(codes, bits, dim, g.labels)].astype(np.float64)
    rebuilt = (centroids[ids] + g.scales[factors[:, :1]] * z) * g.norms[factors[:, 1:]]
    query = rng.integers(-8191, 8192, (5, dim)).astype(np.int16)
    scale = np.full(5, 1e-4, np.float32)
    floats = query * scale[:, None].astype(np.float64)
    documents = np.array([0, 10, 25]), np.array([10, 25, 40])
    centroid_scores = (centroids @ floats.T).astype(np.float32)
    table = reference.score_table(centroid_scores, 0.8, 32)
    tokens = (ids.astype(np.uint16), codes, factors)
    found = reference.residual_scores(query, scale, centroid_scores, table, tokens, documents, g, bits)
    expected = [(rebuilt[a:b] @ floats.T).max(axis=0).sum() for a, b in zip(*documents, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("n_query", [1, 31, 32, 33, 64, 70])
def test_score_table_follows_its_formula(n_query):
    scores = np.random.default_rng(n_query).uniform(-1, 1, (50, n_query)).astype(np.float32)
    table = reference.score_table(scores, 0.8, 32)
    assert (table.shape, table.dtype) == ((-(-n_query // 32), 50, 32), np.uint8)
    flat = table.transpose(1, 0, 2).reshape(50, -1)
    wanted = 255 * (1 - (scores.max(axis=0) - scores.astype(np.float64)) / 0.8).clip(0, 1)
    assert (np.abs(flat[:, :n_query] - wanted) <= 1).all()
    assert (flat[:, :n_query].max(axis=0) == 255).all()
    assert not flat[:, n_query:].any()


def test_probe_of_no_centroids_is_empty():
    positions, scores = reference.probe([np.array([1])], np.zeros((0, 2), np.int64), np.zeros((0, 2), np.uint8))
    assert (positions.tolist(), scores.tolist()) == ([], [])


def test_probe_counts_for_each_query_token_the_best_list_that_holds_a_document():
    lists = [np.array([0, 2]), np.array([2, 3])]
    centroids, gains = np.array([[0, 1], [1, -1]]), np.array([[9, 4], [7, 0]], np.uint8)
    positions, scores = reference.probe(lists, centroids, gains)
    assert (positions.tolist(), scores.tolist()) == ([0, 2, 3], [9, 16, 11])


def test_best_centroids_are_those_of_the_highest_entries():
    table = np.array([[[5, 0], [9, 0], [5, 1]]], np.uint8)
    centroids, entries = reference.best_centroids(table, 2, 2)
    assert (centroids.tolist(), entries.tolist()) == ([[1, 0], [2, -1]], [[9, 5], [1, 0]])
