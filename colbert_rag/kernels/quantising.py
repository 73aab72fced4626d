"""Compressing token vectors: residuals to levels, each dimension by itself, and what completes them."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import kernel, read, written

__all__ = ["complete", "round_each", "stretch_to_unit"]


@nb.njit(inline="always")
def _rank(borders: Any, x: Any) -> Any:
    """How many borders are at most x."""
    low = np.uint64(0)
    high = np.uint64(borders.size)
    while low < high:
        middle = (low + high) >> np.uint64(1)
        if x >= borders[middle]:
            low = middle + np.uint64(1)
        else:
            high = middle
    return low


@nb.njit(inline="always")
def stretch_to_unit(vectors: Any, centroids: Any, i: Any, out: Any) -> None:
    """Residual i with a variance of 1 per dimension; zeros where there is none."""
    dim = np.uint64(vectors.shape[1])
    squares = np.float64(0)
    for d in range(dim):
        out[d] = vectors[i, d] - centroids[i, d]
        squares += np.float64(out[d]) * np.float64(out[d])
    stretch = np.float32(np.sqrt(np.float64(dim) / squares)) if squares > 0 else np.float32(0)
    for d in range(dim):
        out[d] *= stretch


@nb.njit(inline="always")
def _add_steps(x: Any, borders: Any, steps: Any, sums: Any) -> None:
    """Add to each sum the steps of all borders that are at most its x.

    All dimensions make a comparison together, where a search for each would branch as no processor can foresee.
    """
    for b in range(np.uint64(borders.size)):
        border, step = borders[b], steps[b]
        for d in range(np.uint64(x.size)):
            sums[d] += step if x[d] >= border else np.float32(0)


@nb.njit(fastmath={"reassoc"})
def _cosine(rounded: Any, unit: Any) -> Any:
    """Of the angle between them, times the length of ``unit``."""
    dot = np.float64(0)
    length = np.float64(0)
    for d in range(np.uint64(unit.size)):
        level = np.float64(rounded[d])
        dot += level * np.float64(unit[d])
        length += level * level
    # 0 where every level is 0, which 8 bits have, and 1 at least elsewhere
    return dot / np.sqrt(max(length, 1.0))


@kernel(
    t.void(
        *(read(t.float32, 2), read(t.float32, 2)),
        *(read(t.int16, 1), read(t.float32, 1), read(t.float32, 1)),
        *(t.int64, written(t.int16, 2), written(t.uint8, 2)),
    )
)
def round_each(
    vectors: Any, centroids: Any, levels: Any, borders: Any, stretches: Any, bits: int, z: Any, codes: Any
) -> None:
    """Fast form of :func:`colbert_rag.kernels.rounding.round_each`; writes ``z`` and ``codes``."""
    dim = np.uint64(vectors.shape[1])
    per_byte = np.uint64(8 // bits)
    unit, stretched, sums = np.empty(dim, np.float32), np.empty(dim, np.float32), np.empty(dim, np.float32)
    steps, ones = np.empty(borders.size, np.float32), np.ones(borders.size, np.float32)
    for b in range(np.uint64(borders.size)):
        steps[b] = levels[b + np.uint64(1)] - levels[b]
    for i in range(np.uint64(vectors.shape[0])):
        stretch_to_unit(vectors, centroids, i, unit)
        best, chosen = -np.inf, stretches[0]
        for k in range(np.uint64(stretches.size)):
            for d in range(dim):
                stretched[d] = unit[d] * stretches[k]
                sums[d] = levels[0]
            _add_steps(stretched, borders, steps, sums)
            cosine = _cosine(sums, unit)
            if cosine > best:
                best, chosen = cosine, stretches[k]
        for d in range(dim):
            stretched[d] = unit[d] * chosen
            sums[d] = 0
        _add_steps(stretched, borders, ones, sums)
        for j in range(np.uint64(codes.shape[1])):
            codes[i, j] = 0
        for d in range(dim):
            number = np.uint64(sums[d])
            z[i, d] = levels[number]
            shift = np.uint64(8) - np.uint64(bits) * (d % per_byte + np.uint64(1))
            codes[i, d // per_byte] |= np.uint8(number << shift)


@kernel(
    t.void(
        *(read(t.float32, 2), read(t.float32, 2), read(t.int16, 2)),
        *(read(t.float32, 1), read(t.float32, 1), read(t.float32, 1)),
        written(t.uint8, 2),
    )
)
def complete(
    vectors: Any, centroids: Any, z: Any, scales: Any, scale_borders: Any, norm_borders: Any, factors: Any
) -> None:
    """Fast form of :func:`colbert_rag.kernels.rounding.complete`; writes ``factors``."""
    dim = np.uint64(vectors.shape[1])
    for i in range(np.uint64(vectors.shape[0])):
        dot = np.float64(0)
        length = np.float64(0)
        for d in range(dim):
            level = np.float64(z[i, d])
            dot += level * np.float64(vectors[i, d] - centroids[i, d])
            length += level * level
        scale_byte = _rank(scale_borders, np.float32(dot / max(length, 1.0)))
        scale = np.float64(scales[scale_byte])
        squares = np.float64(0)
        for d in range(dim):
            x = np.float64(centroids[i, d]) + scale * np.float64(z[i, d])
            squares += x * x
        factors[i, 0] = np.uint8(scale_byte)
        factors[i, 1] = np.uint8(_rank(norm_borders, np.float32(1 / np.sqrt(squares))))
