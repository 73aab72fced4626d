"""An order of centroids in which neighbours resemble one another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float32Array

__all__ = ["grouped_order"]

_ROUNDS = 8


def grouped_order(centroids: Float32Array, size: int) -> NDArray[np.int64]:
    """Cut centroids in half, those halves in half, and so on, until ``size`` or fewer resemble one another.

    Every cut is that of 2-means with halves of equal size, as multiples of ``size``.

    Args:
        centroids: ``(K, D) float32``.
        size: Of each group but the last.

    Returns:
        ``(K,)``: the numbers of the centroids, group by group.
    """
    return np.concatenate(list(_cut(centroids, np.arange(len(centroids)), size)))


def _cut(centroids: Float32Array, group: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    if len(group) <= size:
        yield group
        return
    for half in _halves(centroids, group, size):
        yield from _cut(centroids, half, size)


def _halves(centroids: Float32Array, group: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    middle = -(-len(group) // (2 * size)) * size
    rows = centroids[group]
    mean = rows.mean(axis=0)
    axis = rows[((rows - mean) ** 2).sum(axis=1).argmax()] - mean
    for _ in range(_ROUNDS):
        order = np.argsort(rows @ axis, kind="stable")
        axis = rows[order[middle:]].mean(axis=0) - rows[order[:middle]].mean(axis=0)
    return [group[order[:middle]], group[order[middle:]]]
