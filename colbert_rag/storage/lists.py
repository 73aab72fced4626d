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
    starts = np.cumsum(sizes) - sizes
    postings = np.empty(int(sizes.sum()), np.uint32)
    cpu.fill_lists(centroid_ids, offsets, np.full(n_centroids, -1, np.int64), starts.copy(), postings)
    steps = postings.astype(np.int64)
    steps[1:] -= postings[:-1]
    first = starts[sizes > 0]
    steps[first] = postings[first]
    packed, ends = _pack(steps)
    return np.concatenate([[0], ends])[np.concatenate([starts, [len(postings)]])].astype(np.int64), packed


def _pack(steps: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Numbers in base 128, low part first, all bytes but the last with the top bit; and where each ends."""
    lengths = np.ones(len(steps), np.int64)
    for shift in (7, 14, 21, 28):
        lengths += steps >= 1 << shift
    ends = np.cumsum(lengths)
    packed = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    for part in range(5):
        has = lengths > part
        byte = (steps[has] >> (7 * part)) & 127
        packed[(ends - lengths)[has] + part] = np.where(lengths[has] > part + 1, byte | 128, byte)
    return packed, ends
