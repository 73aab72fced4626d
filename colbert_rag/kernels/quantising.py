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
    unit = np.empty(dim, np.float32)
    tried = np.empty(dim, np.uint8)
    chosen = np.empty(dim, np.uint8)
    for i in range(np.uint64(vectors.shape[0])):
        stretch_to_unit(vectors, centroids, i, unit)
        best = -np.inf
        for k in range(np.uint64(stretches.size)):
            dot = np.float64(0)
            length = np.float64(0)
            for d in range(dim):
                number = _rank(borders, unit[d] * stretches[k])
                tried[d] = number
                level = np.float64(levels[number])
                dot += level * np.float64(unit[d])
                length += level * level
            # 0 where every level is 0, which 8 bits have, and 1 at least elsewhere
            cosine = dot / np.sqrt(max(length, 1.0))
            if cosine > best:
                best = cosine
                for d in range(dim):
                    chosen[d] = tried[d]
        for j in range(np.uint64(codes.shape[1])):
            codes[i, j] = 0
        for d in range(dim):
            number = np.uint64(chosen[d])
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
