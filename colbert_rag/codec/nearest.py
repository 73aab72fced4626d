"""The nearest centroid of many vectors, and the means of those that have one centroid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float32Array

__all__ = ["OPENED", "Nearest", "Vectors", "unit_means"]

Vectors: TypeAlias = NDArray[np.floating[Any]]
"""Rows that are computed with as float32, some at a time."""

OPENED = 8
"""Groups of centroids that a vector is compared with: of a hundred vectors one or two miss the nearest by a little."""

# with fewer centroids or fewer vectors all are compared, which is faster then
_FEW_CENTROIDS = 2_048
_FEW_VECTORS = 1_024
# vectors that go through the groups together
_ROWS = 8_192
# scores that are held at once: 64 MB
_SCORES = 1 << 24
_ROUNDS = 5


class Nearest:
    """Finds the nearest of some centroids.

    Those that resemble one another are put into groups, about as many as each has members. A vector is compared with
    the members of those groups whose means are nearest, as in an inverted file (Jégou et al. 2011, "Product
    quantization for nearest neighbor search", section IV).

    Args:
        centroids: ``(K, D) float32``, unit rows.
        opened: Groups that a vector is compared with.
    """

    def __init__(self, centroids: Float32Array, opened: int = OPENED) -> None:
        self._centroids = centroids
        self._opened = opened
        self._groups: _Groups | None = None

    def __call__(self, vectors: Vectors) -> NDArray[np.intp]:
        """For each of ``(T, D)`` vectors the number of its centroid, ``(T,)``."""
        if len(self._centroids) < _FEW_CENTROIDS or len(vectors) < _FEW_VECTORS:
            return _nearest(vectors, self._centroids)
        if self._groups is None:
            self._groups = _Groups(self._centroids)
        rows = (np.asarray(vectors[part], np.float32) for part in _parts(len(vectors)))
        return np.concatenate([self._groups.nearest(some, self._opened) for some in rows])


class _Groups:
    def __init__(self, centroids: Float32Array) -> None:
        k = len(centroids)
        n = 1 << round(math.log2(k) / 2)
        means = centroids[np.arange(n) * k // n]
        for _ in range(_ROUNDS):
            means = unit_means(centroids, _nearest(centroids, means), means)
        # of equal means only one has members
        names, owners = np.unique(_nearest(centroids, means), return_inverse=True)
        self._means = means[names]
        self._numbers = np.argsort(owners, kind="stable")
        self._members = centroids[self._numbers]
        self._bounds = np.searchsorted(owners[self._numbers], np.arange(len(names) + 1)).tolist()

    def nearest(self, vectors: Float32Array, opened: int) -> NDArray[np.intp]:
        n = len(self._means)
        opened = min(opened, n)
        groups = np.argpartition(vectors @ self._means.T, n - opened, axis=1)[:, n - opened :].reshape(-1)
        order = np.argsort(groups, kind="stable")
        rows, cuts = order // opened, np.searchsorted(groups[order], np.arange(n + 1)).tolist()
        best, found = np.full(len(vectors), -np.inf, np.float32), np.zeros(len(vectors), np.intp)
        for group, (first, last) in enumerate(pairwise(cuts)):
            begin, end = self._bounds[group], self._bounds[group + 1]
            if first < last:
                asked = rows[first:last]
                scores = vectors[asked] @ self._members[begin:end].T
                winners = scores.argmax(axis=1)
                highest = scores[np.arange(len(asked)), winners]
                is_better = highest > best[asked]
                best[asked[is_better]] = highest[is_better]
                found[asked[is_better]] = begin + winners[is_better]
        return self._numbers[found]


def _nearest(vectors: Vectors, centroids: Float32Array) -> NDArray[np.intp]:
    step = max(1, _SCORES // len(centroids))
    rows = (np.asarray(vectors[part], np.float32) for part in _parts(len(vectors), step))
    parts = [(some @ centroids.T).argmax(axis=1) for some in rows]
    return np.concatenate(parts) if parts else np.zeros(0, np.intp)


def unit_means(vectors: Vectors, owners: NDArray[np.intp], before: Float32Array) -> Float32Array:
    """The direction of the sum of each owner's vectors.

    Args:
        vectors: ``(T, D)``.
        owners: ``(T,)``, below k.
        before: ``(k, D) float32``: what an owner without vectors keeps.

    Returns:
        ``(k, D) float32``, unit rows.
    """
    sums = np.zeros_like(before)
    # piece by piece, so that nothing of the size of the vectors is copied
    for part in _parts(len(vectors)):
        order = np.argsort(owners[part], kind="stable")
        names, starts = np.unique(owners[part][order], return_index=True)
        sums[names] += np.add.reduceat(np.asarray(vectors[part][order], np.float32), starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    found: Float32Array = np.where(lengths > 0, sums / np.maximum(lengths, np.finfo(np.float32).tiny), before)
    return found


def _parts(n: int, step: int = _ROWS) -> Iterator[slice]:
    for start in range(0, n, step):
        yield slice(start, start + step)
