"""Training a codec on a bounded sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec.clustering import spherical_kmeans
from colbert_rag.codec.codec import Codec
from colbert_rag.codec.nearest import Vectors
from colbert_rag.codec.ordering import grouped_order
from colbert_rag.types import Float32Array

__all__ = [
    "Clustering",
    "n_centroids_for",
    "sample_size",
    "train_codec",
]

Clustering: TypeAlias = Callable[[Vectors, int, int], Float32Array]
"""``(S, D)`` points, k and a seed give ``(k, D) float32`` centroids of unit length."""

MOST_CENTROIDS = 1 << 18
_TOKENS_PER_CENTROID = 256
# k-means sees this many vectors per centroid at most, fewer where that would take much memory: 256 MB at 128 dimensions
SAMPLE_PER_CENTROID = 64
_MUCH = 1 << 19
_LEAST_PER_CENTROID = 16
# so many and more are put into groups, most of which a search need not look at
_MANY_CENTROIDS = 1 << 15
_GROUP = 32
# vectors that are rotated at once
_ROWS = 8_192


def n_centroids_for(n_tokens: int) -> int:
    """One for 256 tokens, so that a centroid stands for as many wherever there are more; as a multiple of 16.

    ``4 * sqrt(n_tokens)``, a quarter of PLAID's (arXiv 2205.09707, section 4.1), where that is more: below a million
    tokens, and above 268 million, since two bytes name 65,536. At most 262,144, which is where four billion tokens
    are: a record of an index that claims more is refused.
    """
    by_share = min(n_tokens // _TOKENS_PER_CENTROID, 1 << 16)
    return min(MOST_CENTROIDS, 16 * max(1, round(math.sqrt(n_tokens) / 4), by_share // 16))


def sample_size(n_centroids: int) -> int:
    """Vectors that :func:`train_codec` makes use of."""
    most = max(_MUCH, _LEAST_PER_CENTROID * n_centroids)
    return min(SAMPLE_PER_CENTROID * n_centroids, most)


def train_codec(
    sample: NDArray[np.floating[Any]],
    *,
    n_centroids: int,
    bits: int,
    seed: int = 0,
    clustering: Clustering | None = None,
) -> Codec:
    """Train a codec.

    Args:
        sample: ``(S, D)`` unit vectors, drawn at random from the corpus.
        n_centroids: K; at most S of them are made.
        bits: 1, 2, 4 or 8.
        seed: Of the rotation and of k-means; the same seed and sample give the same codec.
        clustering: Finds the centroids; None for faiss.

    Raises:
        MissingDependencyError: faiss is not installed.
    """
    dim = sample.shape[1]
    rotation = _random_rotation(dim, seed)
    # a million vectors are half as large in the type that they are stored in
    points = np.empty(sample.shape, np.float16 if sample.dtype == np.float16 else np.float32)
    for start in range(0, len(points), _ROWS):
        points[start : start + _ROWS] = np.asarray(sample[start : start + _ROWS], np.float32) @ rotation
    found = (clustering or spherical_kmeans)(points, min(n_centroids, len(points)), seed)
    group_size = _GROUP if len(found) >= _MANY_CENTROIDS else 1
    if group_size > 1:
        found = found[grouped_order(found, group_size)]
    # stored as float16, so they are rounded before anything is computed with them
    return Codec(found.astype(np.float16).astype(np.float32), rotation, bits, group_size=group_size)


def _random_rotation(dim: int, seed: int) -> Float32Array:
    gaussian = np.random.default_rng(seed).standard_normal((dim, dim))
    q, r = np.linalg.qr(gaussian)
    return np.ascontiguousarray(q * np.sign(np.diag(r)), np.float32)
