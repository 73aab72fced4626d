from __future__ import annotations

import numpy as np
import pytest

from colbert_rag.codec.ordering import grouped_order


@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 64, 100, 1_000])
@pytest.mark.parametrize("size", [1, 8, 32])
def test_every_centroid_has_one_place(clustered, k, size):
    assert sorted(grouped_order(clustered(k, 16), size).tolist()) == list(range(k))


def test_centroids_of_a_cluster_lie_in_one_group():
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.eye(16, 24), 8, axis=0) + 0.05 * rng.standard_normal((128, 24))
    mixed = rng.permutation(128)
    groups = mixed[grouped_order(clusters[mixed].astype(np.float32), 8)].reshape(16, 8) // 8
    assert (groups == groups[:, :1]).all()


def test_equal_centroids_are_no_obstacle():
    assert sorted(grouped_order(np.ones((70, 4), np.float32), 32).tolist()) == list(range(70))
