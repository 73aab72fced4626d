from __future__ import annotations

import numpy as np
import pytest

from colbert_rag.codec import nearest
from colbert_rag.codec.nearest import Nearest, unit_means


def similarity(vectors, centroids, owners):
    return (vectors * centroids[owners]).sum(axis=1)


@pytest.mark.parametrize(("n", "k"), [(0, 7), (1, 1), (1_023, 4_096), (1_500, 2_047)])
def test_few_vectors_or_centroids_are_all_compared(clustered, n, k):
    vectors, centroids = clustered(n, 48), clustered(k, 48, seed=3)
    expected = (vectors @ centroids.T).argmax(axis=1)
    np.testing.assert_array_equal(Nearest(centroids)(vectors), expected)


@pytest.mark.parametrize("k", [2_048, 3_000, 5_000])
def test_among_many_centroids_the_nearest_or_one_that_is_hardly_farther_is_found(clustered, k):
    vectors, centroids = clustered(20_000, 48), clustered(k, 48, seed=3)
    found, expected = Nearest(centroids)(vectors), (vectors @ centroids.T).argmax(axis=1)
    assert found.shape == (20_000,)
    assert (found == expected).mean() > 0.97
    assert (similarity(vectors, centroids, expected) - similarity(vectors, centroids, found)).mean() < 0.002


def test_with_all_groups_opened_the_nearest_is_found(clustered, monkeypatch):
    monkeypatch.setattr(nearest, "_ROWS", 777)
    vectors, centroids = clustered(3_000, 48), clustered(2_100, 48, seed=3)
    found = Nearest(centroids, opened=64)(vectors)
    expected = (vectors @ centroids.T).argmax(axis=1)
    np.testing.assert_allclose(
        similarity(vectors, centroids, found), similarity(vectors, centroids, expected), atol=1e-6
    )
    assert (found == expected).mean() > 0.999


def test_equal_centroids_are_no_trouble(clustered):
    centroids = np.repeat(clustered(3, 48), 1_000, axis=0)
    vectors = clustered(2_000, 48)
    found = Nearest(centroids)(vectors)
    np.testing.assert_allclose(similarity(vectors, centroids, found), (vectors @ centroids.T).max(axis=1), atol=1e-6)


@pytest.mark.parametrize("rows", [3, 100, 10_000])
def test_means_are_those_of_each_owners_vectors(clustered, monkeypatch, rows):
    monkeypatch.setattr(nearest, "_ROWS", rows)
    vectors, before = clustered(400, 16), clustered(50, 16, seed=3)
    owners = np.random.default_rng(0).integers(0, 49, 400)
    expected = before.copy()
    for owner in set(owners.tolist()):
        total = vectors[owners == owner].astype(np.float64).sum(axis=0)
        expected[owner] = total / np.linalg.norm(total)
    np.testing.assert_allclose(unit_means(vectors, owners, before), expected, atol=1e-5)


def test_vectors_that_cancel_out_leave_the_mean_before():
    vectors = np.array([[1, 0], [-1, 0]], np.float32)
    before = np.array([[0, 1]], np.float32)
    np.testing.assert_array_equal(unit_means(vectors, np.zeros(2, np.intp), before), before)
