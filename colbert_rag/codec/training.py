"""Training a codec: spherical k-means through faiss, on a bounded sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec.codec import Codec
from colbert_rag.errors import MissingDependencyError
from colbert_rag.types import Float32Array

__all__ = [
    "SAMPLE_PER_CENTROID",
    "Clustering",
    "faiss_sees_gpu",
    "n_centroids_for",
    "require_faiss",
    "spherical_kmeans",
    "train_codec",
]

Clustering: TypeAlias = Callable[[Float32Array, int, int], Float32Array]
"""``(S, D)`` points, k and a seed give ``(k, D) float32`` centroids of unit length."""

MOST_CENTROIDS = 1 << 18
# k-means sees this many vectors per centroid at most
SAMPLE_PER_CENTROID = 64
_ITERATIONS = 6


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


def n_centroids_for(n_tokens: int) -> int:
    """A quarter of PLAID's rule (arXiv 2205.09707, section 4.1): ``2 ** floor(log2(4 * sqrt(n_tokens)))``.

    At most 262,144, which is where four billion tokens are: a record of an index that claims more is refused.
    """
    return min(MOST_CENTROIDS, max(16, 1 << int(math.log2(4 * math.sqrt(max(n_tokens, 1))))))


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
    points = np.asarray(sample, np.float32) @ rotation
    found = (clustering or spherical_kmeans)(points, min(n_centroids, len(points)), seed)
    # stored as float16, so they are rounded before anything is computed with them
    return Codec(found.astype(np.float16).astype(np.float32), rotation, bits)


def _random_rotation(dim: int, seed: int) -> Float32Array:
    gaussian = np.random.default_rng(seed).standard_normal((dim, dim))
    q, r = np.linalg.qr(gaussian)
    return np.ascontiguousarray(q * np.sign(np.diag(r)), np.float32)


def faiss_sees_gpu() -> bool:
    """Whether faiss was built for GPUs and finds one."""
    faiss = require_faiss()
    return hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0


def spherical_kmeans(points: Float32Array, k: int, seed: int) -> Float32Array:
    """Centroids of unit length through faiss: ``(S, D) float32`` points give ``(k, D) float32``.

    Raises:
        MissingDependencyError: faiss is not installed.
    """
    faiss = require_faiss()
    kmeans = faiss.Kmeans(
        points.shape[1],
        k,
        niter=_ITERATIONS,
        seed=seed + 1,
        spherical=True,
        gpu=faiss_sees_gpu(),
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE_PER_CENTROID,
    )
    kmeans.train(np.ascontiguousarray(points))
    centroids: Float32Array = kmeans.centroids
    return centroids
