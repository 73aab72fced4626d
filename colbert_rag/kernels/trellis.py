"""Rounding residuals along a trellis, for few bits per dimension."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import kernel, read, written
from colbert_rag.kernels.quantising import stretch_to_unit

__all__ = ["round_on_trellis"]

# vectors whose paths are sought at once: one in each lane of a register, or of two
_SIDE_BY_SIDE = 16
# subsets of the levels: as many as the state and the next bit can ask for
_SUBSETS = 4


@nb.njit(inline="always")
def _score_levels(wanted: Any, points: Any, costs: Any, choices: Any) -> None:
    """The cost of the nearest level of each subset, and which of its levels that is."""
    side, subsets = np.uint64(_SIDE_BY_SIDE), np.uint64(_SUBSETS)
    for k in range(subsets):
        for n in range(side):
            gap = wanted[n] - points[k]
            costs[k, n] = gap * gap
            choices[k, n] = np.uint8(0)
        for c in range(np.uint64(1), np.uint64(points.size) // subsets):
            point = points[c * subsets + k]
            for n in range(side):
                gap = wanted[n] - point
                is_nearer = gap * gap < costs[k, n]
                costs[k, n] = gap * gap if is_nearer else costs[k, n]
                choices[k, n] = np.uint8(c) if is_nearer else choices[k, n]


@nb.njit(inline="always")
def _step(costs: Any, before: Any, labels: Any, after: Any, forgotten: Any) -> None:
    """The cheaper of the two ways into each state; ``forgotten`` is the oldest bit of the state that it comes from."""
    side, half = np.uint64(_SIDE_BY_SIDE), np.uint64(labels.shape[0]) // np.uint64(2)
    for j in range(half):
        for bit in range(np.uint64(2)):
            low, high, state = labels[j, bit], labels[j + half, bit], np.uint64(2) * j + bit
            for n in range(side):
                a = before[j, n] + costs[low, n]
                b = before[j + half, n] + costs[high, n]
                after[state, n] = b if b < a else a
                forgotten[state, n] = np.uint8(1) if b < a else np.uint8(0)


@kernel(
    t.void(
        *(read(t.float32, 2), read(t.float32, 2)),
        *(read(t.float32, 1), read(t.int16, 1), read(t.uint8, 2)),
        *(t.int64, written(t.int16, 2), written(t.uint8, 2)),
    )
)
def round_on_trellis(
    vectors: Any, centroids: Any, points: Any, levels: Any, labels: Any, bits: int, z: Any, codes: Any
) -> None:
    """Fast form of :func:`colbert_rag.kernels.rounding.round_on_trellis`; writes ``z`` and ``codes``."""
    n_rows, dim = np.uint64(vectors.shape[0]), np.uint64(vectors.shape[1])
    side, subsets, n_states = np.uint64(_SIDE_BY_SIDE), np.uint64(_SUBSETS), np.uint64(labels.shape[0])
    one, half = np.uint64(1), np.uint64(labels.shape[0]) // np.uint64(2)
    per_byte, free = np.uint64(8 // bits), np.uint64(bits - 1)
    units = np.zeros((dim, side), np.float32)
    unit = np.empty(dim, np.float32)
    costs = np.empty((subsets, side), np.float32)
    choices = np.empty((dim, subsets, side), np.uint8)
    forgotten = np.empty((dim, n_states, side), np.uint8)
    before, after = np.empty((n_states, side), np.float32), np.empty((n_states, side), np.float32)
    first = np.uint64(0)
    while first < n_rows:
        here = min(side, n_rows - first)
        for n in range(here):
            stretch_to_unit(vectors, centroids, first + n, unit)
            for d in range(dim):
                units[d, n] = unit[d]
        before[:] = np.float32(np.inf)
        before[0] = np.float32(0)
        for d in range(dim):
            _score_levels(units[d], points, costs, choices[d])
            _step(costs, before, labels, after, forgotten[d])
            before, after = after, before
        for n in range(here):
            row = first + n
            for j in range(np.uint64(codes.shape[1])):
                codes[row, j] = np.uint8(0)
            state = np.uint64(0)
            for other in range(n_states):
                if before[other, n] < before[state, n]:
                    state = np.uint64(other)
            for back in range(dim):
                at = dim - one - back
                bit = state & one
                source = (state >> one) + half * np.uint64(forgotten[at, state, n])
                label = np.uint64(labels[source, bit])
                choice = np.uint64(choices[at, label, n])
                z[row, at] = levels[choice * subsets + label]
                place = per_byte - one - at % per_byte
                codes[row, at // per_byte] |= np.uint8(bit << place | choice << (per_byte + place * free))
                state = source
        first += side
