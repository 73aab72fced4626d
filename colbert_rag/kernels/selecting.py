"""Choosing the best of an array inside a kernel. NumPy's own functions do it too, and take seconds to compile."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

__all__ = ["joined", "keep_best", "moved", "numbers", "taken"]


@nb.njit
def keep_best(scores: Any, n: int) -> Any:
    """Indices of the best ``n`` and of whatever ties with the last of them, rising."""
    if n >= scores.size:
        return numbers(scores.size)
    border = _in_order(scores.copy(), n - 1)
    kept, n_kept = np.empty(scores.size, np.int64), 0
    for i in range(np.uint64(scores.size)):
        kept[n_kept] = i
        n_kept += int(scores[i] >= border)
    return kept[:n_kept]


@nb.njit
def _in_order(scores: Any, n: int) -> Any:
    """The score that ``n`` others come before, best first; changes their order (Hoare's selection)."""
    first, last = 0, scores.size - 1
    while first < last:
        pivot = scores[(first + last) >> 1]
        i, j = first, last
        while i <= j:
            while scores[i] > pivot:
                i += 1
            while scores[j] < pivot:
                j -= 1
            if i <= j:
                scores[i], scores[j] = scores[j], scores[i]
                i, j = i + 1, j - 1
        if n <= j:
            last = j
        elif n >= i:
            first = i
        else:
            break
    return scores[n]


@nb.njit
def numbers(n: int) -> Any:
    """``0 … n - 1``."""
    found = np.empty(n, np.int64)
    for i in range(n):
        found[i] = i
    return found


@nb.njit
def taken(array: Any, indices: Any) -> Any:
    """``array[indices]``."""
    found = np.empty(indices.size, array.dtype)
    for i in range(np.uint64(indices.size)):
        found[i] = array[np.uint64(indices[i])]
    return found


@nb.njit
def joined(first: Any, second: Any) -> Any:
    """One array after the other."""
    found = np.empty(first.size + second.size, first.dtype)
    for i in range(np.uint64(first.size)):
        found[i] = first[i]
    for i in range(np.uint64(second.size)):
        found[np.uint64(first.size) + i] = second[i]
    return found


@nb.njit
def moved(ends: Any, kept: Any) -> None:
    """Change the ends of an array's parts to those that they have when only these of its indices are kept."""
    n_kept = 0
    for part in range(ends.size):
        while n_kept < kept.size and kept[n_kept] < ends[part]:
            n_kept += 1
        ends[part] = n_kept
