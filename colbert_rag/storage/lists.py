"""Inverted lists: for each centroid the documents that hold it, as packed differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["build_lists"]


def build_lists(
    centroid_ids: NDArray[Any], offsets: NDArray[np.int64], n_centroids: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Build the lists of a segment.

    Args:
        centroid_ids: ``(T,) uint16`` or ``uint32``, each below ``n_centroids``.
        offsets: ``(N + 1,) int64``.
        n_centroids: K.

    Returns:
        List offsets ``(K + 1,) int64`` into the packed bytes, and those: list after list the
        differences of rising document positions in base 128, low part first.
    """
    from colbert_rag.kernels import cpu

    sizes = np.zeros(n_centroids, np.int64)
    cpu.list_sizes(centroid_ids, offsets, np.full(n_centroids, -1, np.int64), sizes)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    packed = np.empty(bounds[-1], np.uint8)
    cpu.fill_lists(centroid_ids, offsets, np.full(n_centroids, -1, np.int64), bounds[:-1].copy(), packed)
    return bounds, packed
