"""Compressing token vectors."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import kernel, read, written

__all__ = ["quantise"]


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


@kernel(
    t.void(
        *(read(t.float32, 2), read(t.float32, 2)),
        *(
            read(t.int16, 1),
            read(t.float32, 1),
            read(t.float32, 1),
            read(t.float32, 1),
            read(t.float32, 1),
            read(t.float32, 1),
        ),
        *(t.int64, written(t.uint8, 2), written(t.uint8, 2)),
    )
)
def quantise(
    vectors: Any,
    centroids: Any,
    levels: Any,
    borders: Any,
    stretches: Any,
    scales: Any,
    scale_borders: Any,
    norm_borders: Any,
    bits: int,
    codes: Any,
    factors: Any,
) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.quantise`; writes ``codes`` and ``factors``."""
    dim = np.uint64(vectors.shape[1])
    per_byte = np.uint64(8 // bits)
    unit = np.empty(dim, np.float32)
    tried = np.empty(dim, np.uint8)
    chosen = np.empty(dim, np.uint8)
    for i in range(np.uint64(vectors.shape[0])):
        squares = np.float64(0)
        for d in range(dim):
            unit[d] = vectors[i, d] - centroids[i, d]
            squares += np.float64(unit[d]) * np.float64(unit[d])
        stretch = np.float32(np.sqrt(np.float64(dim) / squares)) if squares > 0 else np.float32(0)
        for d in range(dim):
            unit[d] *= stretch
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
        dot = np.float64(0)
        length = np.float64(0)
        for d in range(dim):
            level = np.float64(levels[np.uint64(chosen[d])])
            dot += level * np.float64(vectors[i, d] - centroids[i, d])
            length += level * level
        scale_byte = _rank(scale_borders, np.float32(dot / max(length, 1.0)))
        scale = np.float64(scales[scale_byte])
        squares = np.float64(0)
        for j in range(np.uint64(codes.shape[1])):
            codes[i, j] = 0
        for d in range(dim):
            number = np.uint64(chosen[d])
            x = np.float64(centroids[i, d]) + scale * np.float64(levels[number])
            squares += x * x
            shift = np.uint64(8) - np.uint64(bits) * (d % per_byte + np.uint64(1))
            codes[i, d // per_byte] |= np.uint8(number << shift)
        factors[i, 0] = np.uint8(scale_byte)
        factors[i, 1] = np.uint8(_rank(norm_borders, np.float32(1 / np.sqrt(squares))))
