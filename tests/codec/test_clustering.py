from __future__ import annotations

import numpy as np
import pytest

from colbert_rag.codec import clustering
from colbert_rag.codec.clustering import spherical_kmeans


def nearness(points, centroids):
    return (points @ centroids.T).max(axis=1).mean()


def test_many_centroids_are_found_as_well_as_by_faiss_alone(clustered, monkeypatch):
    points, others = np.split(clustered(60_000, 32), [50_000])
    ours = spherical_kmeans(points, 2_048, 1)
    monkeypatch.setattr(clustering, "_MANY_CENTROIDS", 10_000)
    theirs = spherical_kmeans(points, 2_048, 1)
    assert ours.shape == theirs.shape == (2_048, 32)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    assert nearness(others, ours) > nearness(others, theirs) - 0.002


@pytest.mark.parametrize("k", [2_048, 2_500, 3_000])
def test_there_are_as_many_centroids_as_asked_for_however_the_points_lie(clustered, k):
    points = np.concatenate([np.repeat(clustered(2, 16), 1_400, axis=0), clustered(200, 16, seed=3)])
    found = spherical_kmeans(points, k, 0)
    assert found.shape == (k, 16)
    assert np.isfinite(found).all()
    assert nearness(points, found) > 0.99


def test_the_same_seed_gives_the_same_centroids_and_another_seed_others(clustered):
    points = clustered(6_000, 16)
    one, again, other = (spherical_kmeans(points, 2_100, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
