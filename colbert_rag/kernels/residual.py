"""Exact scores of compressed tokens, read from their codes."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import IDS, RANGE, kernel, read, written
from colbert_rag.kernels.layout import LANES, WIDTH
from colbert_rag.kernels.simd import (
    ROWS,
    best_entries,
    bits_within,
    dot_float32,
    dot_int16,
    fetch,
    lowest_bit,
)
from colbert_rag.kernels.unpacking import unpack

__all__ = ["residual_scores", "residual_table"]


# tokens that are looked through for promising ones before these are scored
_AT_ONCE = 256
# promising tokens ahead of the one that is scored, whose codes are on their way from memory
_AHEAD = 8
# what a byte of codes, of a scale and of a norm stands for
_LEVELS = (read(t.int16, 2), read(t.float32, 1), read(t.float32, 1))
# codes and factors of tokens
_CODES = (read(t.uint8, 2), read(t.uint8, 2))


@nb.njit(inline="always")
def _halves(levels: Any, per_byte: Any) -> Any:
    """The levels that half a byte stands for, where a byte has two."""
    halves = np.zeros(16, np.int8)
    if per_byte == np.uint64(2):
        for n in range(np.uint64(halves.size)):
            halves[n] = np.int8(levels[(n << np.uint64(4)) * per_byte])
    return halves


@kernel(
    *(
        t.void(
            *(read(t.int16, 1), read(t.float32, 1), read(t.float32, 2), read(t.uint8, 3), t.uint8),
            *_LEVELS,
            *(read(ids, 1), *_CODES),
            *(*RANGE, written(t.float32, 1)),
        )
        for ids in IDS
    )
)
def residual_scores(
    query: Any,
    query_scale: Any,
    centroid_scores: Any,
    table: Any,
    slack: Any,
    byte_levels: Any,
    scales: Any,
    norms: Any,
    centroid_ids: Any,
    codes: Any,
    factors: Any,
    starts: Any,
    ends: Any,
    out: Any,
) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.residual_scores`; writes ``out`` ``(N,) float32``.

    ``query`` is flat, ``(Q * P,) int16`` with P the dimensions of a row of codes, rounded up to a multiple of LANES;
    ``byte_levels`` gives the levels that a byte of codes stands for, see ``codec.grid.Grid``.
    The products are summed in integers, so equal documents get equal scores wherever they lie.
    """
    n_query = np.uint64(query_scale.size)
    n_bytes = np.uint64(codes.shape[1])
    per_byte = np.uint64(byte_levels.shape[1])
    width, lanes = np.uint64(WIDTH), np.uint64(LANES)
    padded = (n_bytes * per_byte + lanes - np.uint64(1)) // lanes * lanes
    rows, levels, bytes_of_codes = table.reshape(-1), byte_levels.reshape(-1), codes.reshape(-1)
    bytes_of_factors = factors.reshape(-1)
    halves, z = _halves(levels, per_byte), np.zeros(padded, np.int16)
    most = np.uint64(_AT_ONCE)
    places, masks = np.empty(most, np.uint64), np.empty(most, np.uint32)
    top = np.empty(width, np.uint8)
    best = np.empty(width, np.float32)
    for n in range(np.uint64(starts.size)):
        total = np.float32(0)
        for block in range(np.uint64(table.shape[0])):
            first = block * width
            n_here = min(width, n_query - first)
            asked = np.uint32(0xFFFFFFFF) >> np.uint32(width - n_here)
            base = first * np.uint64(table.shape[1])
            for q in range(width):
                best[q] = -np.inf
            best_entries(rows, base, centroid_ids, np.uint64(starts[n]), np.uint64(ends[n]), top)
            begin, end = np.uint64(starts[n]), np.uint64(ends[n])
            while begin < end:
                stop, count = min(begin + most, end), np.uint64(0)
                # no branch here: which tokens are promising cannot be foreseen
                for i in range(begin, stop):
                    promising = bits_within(rows, base + np.uint64(centroid_ids[i]) * width, top, slack) & asked
                    places[count], masks[count] = i, promising
                    count += np.uint64(promising != np.uint32(0))
                begin = stop
                for j in range(count):
                    ahead = places[min(j + np.uint64(_AHEAD), count - np.uint64(1))]
                    fetch(bytes_of_codes, ahead * n_bytes)
                    fetch(bytes_of_factors, ahead * np.uint64(2))
                    i, promising = places[j], masks[j]
                    centroid = np.uint64(centroid_ids[i])
                    unpack(levels, halves, per_byte, bytes_of_codes, i * n_bytes, n_bytes, z)
                    scale = scales[np.uint64(factors[i, np.uint64(0)])]
                    norm = norms[np.uint64(factors[i, np.uint64(1)])]
                    while promising != np.uint32(0):
                        q = lowest_bit(promising)
                        promising &= promising - np.uint32(1)
                        asker = first + q
                        dot = np.float32(dot_int16(z, query, asker * padded, padded))
                        similarity = (centroid_scores[centroid, asker] + scale * (query_scale[asker] * dot)) * norm
                        best[q] = similarity if similarity > best[q] else best[q]
            for q in range(n_here):
                total += best[q]
        out[n] = total


@kernel(
    *(
        t.void(
            *(read(t.float32, 1), read(t.float32, 2)),
            *_LEVELS,
            *(read(ids, 1), *_CODES),
            written(t.float32, 2),
        )
        for ids in IDS
    )
)
def residual_table(
    query: Any,
    centroids: Any,
    byte_levels: Any,
    scales: Any,
    norms: Any,
    centroid_ids: Any,
    codes: Any,
    factors: Any,
    out: Any,
) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.residual_table`; writes ``out`` ``(T, Q) float32``.

    ``query`` is rotated and laid out as in ``dot_scores``.
    """
    n_query, width, most = np.uint64(out.shape[1]), np.uint64(WIDTH), np.uint64(ROWS)
    dim, per_byte = np.uint64(centroids.shape[1]), np.uint64(byte_levels.shape[1])
    n_bytes = np.uint64(codes.shape[1])
    levels, bytes_of_codes = byte_levels.reshape(-1), codes.reshape(-1)
    halves, z = _halves(levels, per_byte), np.empty(n_bytes * per_byte, np.int16)
    rows = np.zeros(most * dim, np.float32)
    dots = np.empty(most * width, np.float32)
    i, end = np.uint64(0), np.uint64(codes.shape[0])
    while i < end:
        count = min(most, end - i)
        for r in range(count):
            centroid = np.uint64(centroid_ids[i + r])
            scale = scales[np.uint64(factors[i + r, np.uint64(0)])]
            norm = norms[np.uint64(factors[i + r, np.uint64(1)])]
            unpack(levels, halves, per_byte, bytes_of_codes, (i + r) * n_bytes, n_bytes, z)
            for d in range(dim):
                rows[r * dim + d] = (centroids[centroid, d] + scale * np.float32(z[d])) * norm
        for block in range((n_query + width - np.uint64(1)) // width):
            first = block * width
            n_here = min(width, n_query - first)
            dot_float32(rows, dim, query, first * dim, n_here, dots)
            for r in range(count):
                for q in range(n_here):
                    out[i + r, first + q] = dots[r * width + q]
        i += count
