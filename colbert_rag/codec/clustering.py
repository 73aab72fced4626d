"""Spherical k-means on the processor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from colbert_rag.codec.nearest import Nearest, Vectors, unit_means
from colbert_rag.errors import MissingDependencyError
from colbert_rag.types import Float32Array

__all__ = ["faiss_sees_gpu", "require_faiss", "spherical_kmeans"]

_ITERATIONS = 6
# so many and more centroids are found within coarse clusters, which takes a fraction of the time, and moved after
_MANY_CENTROIDS = 2_048
_ROUNDS = 6
_POINTS_PER_CENTROID = 256
# enough of the groups of centroids for a round
_OPENED = 4


def require_faiss() -> Any:
    """The faiss module.

    Raises:
        MissingDependencyError: neither faiss-cpu nor faiss-gpu is installed.
    """
    try:
        import faiss
    except ImportError as err:
        msg = (
            "faiss is needed to compress an index and is not installed. "
            "Install the extra: pip install 'late-interaction-rag[cpu]' (or [gpu] on Linux with an NVIDIA GPU)."
        )
        raise MissingDependencyError(msg) from err
    return faiss


def faiss_sees_gpu() -> bool:
    """Whether faiss was built for GPUs and finds one."""
    faiss = require_faiss()
    return hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0


def spherical_kmeans(points: Vectors, k: int, seed: int) -> Float32Array:
    """Centroids of unit length: ``(S, D)`` points, S at least ``k``, give ``(k, D) float32``.

    Raises:
        MissingDependencyError: faiss is not installed.
    """
    if k < _MANY_CENTROIDS or faiss_sees_gpu():
        return _through_faiss(points, k, seed)
    centroids = _within_clusters(points, k, seed)
    for _ in range(_ROUNDS):
        centroids = unit_means(points, Nearest(centroids, _OPENED)(points), centroids)
    return centroids


def _within_clusters(points: Vectors, k: int, seed: int) -> Float32Array:
    """Of each coarse cluster as many centroids as it has a share of the points."""
    n_coarse = 1 << round(math.log2(k) / 2)
    owners = Nearest(_through_faiss(points, n_coarse, seed))(points)
    order = np.argsort(owners, kind="stable")
    # k places at equal distances among the points of all clusters
    shares = np.bincount(owners[order[np.arange(k) * len(points) // k]], minlength=n_coarse)
    ends = np.cumsum(np.bincount(owners, minlength=n_coarse))
    members = np.split(order, ends[:-1])
    found = [_through_faiss(points[some], n, seed) for some, n in zip(members, shares.tolist(), strict=True) if n]
    return np.concatenate(found)


def _through_faiss(points: Vectors, k: int, seed: int) -> Float32Array:
    faiss = require_faiss()
    if len(points) > _POINTS_PER_CENTROID * k:
        # as faiss would, which needs all of them as float32 for it
        chosen = np.random.default_rng(seed).choice(len(points), _POINTS_PER_CENTROID * k, replace=False)
        points = points[np.sort(chosen)]
    kmeans = faiss.Kmeans(
        points.shape[1],
        k,
        niter=_ITERATIONS,
        seed=seed + 1,
        spherical=True,
        gpu=faiss_sees_gpu(),
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_PER_CENTROID,
    )
    kmeans.train(np.ascontiguousarray(points, np.float32))
    centroids: Float32Array = kmeans.centroids
    return centroids
