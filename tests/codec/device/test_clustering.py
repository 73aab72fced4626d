from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_rag.codec.device import clustering

CPU = torch.device("cpu")


def test_centroids_find_the_clusters_as_well_as_faiss_does(clustered):
    from colbert_rag.codec.clustering import spherical_kmeans

    points = clustered(4_000, 48)
    ours, theirs = clustering.kmeans(points, 64, 1, CPU), spherical_kmeans(points, 64, 1)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    near, far = ((points @ found.T).max(axis=1).mean() for found in (ours, theirs))
    assert near > far - 0.02


def test_as_many_clusters_as_points_are_the_points(clustered):
    points = clustered(9, 16)
    assert (points @ clustering.kmeans(points, 9, 0, CPU).T).max(axis=1) == pytest.approx(1, abs=1e-5)


def test_equal_points_leave_no_centroid_without_a_direction(clustered):
    points = np.repeat(clustered(1, 16), 40, axis=0)
    assert np.isfinite(clustering.kmeans(points, 8, 0, CPU)).all()


@pytest.mark.parametrize("scores", [1, 100, 1 << 20])
def test_the_nearest_centroid_does_not_depend_on_the_pieces(clustered, monkeypatch, scores):
    monkeypatch.setattr(clustering, "_SCORES", scores)
    points, centroids = clustered(33, 16), clustered(10, 16, seed=3)
    found = clustering.nearest(torch.from_numpy(points), torch.from_numpy(centroids))
    np.testing.assert_array_equal(found.numpy(), (points @ centroids.T).argmax(axis=1))
    assert len(clustering.nearest(torch.zeros((0, 16)), torch.from_numpy(centroids))) == 0
