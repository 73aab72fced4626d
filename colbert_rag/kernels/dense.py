"""Dot products of plain vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import RANGE, kernel, read, written
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.kernels.simd import ROWS, dot_float32, load_row

__all__ = ["dot_scores", "dot_table"]

# float32, and float16 as its bits
_FLOATS = (t.float32, t.uint16)


@kernel(*(t.void(read(t.float32, 1), t.int64, read(kind, 2), *RANGE, written(t.float32, 1)) for kind in _FLOATS))
def dot_scores(query: Any, n_query: int, vectors: Any, starts: Any, ends: Any, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.dot_scores`; writes ``out`` ``(N,) float32``.

    ``query`` is flat and transposed in blocks: ``(ceil(Q / WIDTH), D, WIDTH) float32``, padded with zeros;
    ``vectors`` are float32, or finite float16 seen as uint16.
    Each sum runs over the dimensions in one fixed order, so equal documents get equal scores.
    """
    dim, width, most = np.uint64(vectors.shape[1]), np.uint64(WIDTH), np.uint64(ROWS)
    flat = vectors.reshape(-1)
    rows = np.zeros(most * dim, np.float32)
    dots = np.empty(most * width, np.float32)
    best = np.empty(width, np.float32)
    for n in range(np.uint64(starts.size)):
        total = np.float32(0)
        for block in range((np.uint64(n_query) + width - np.uint64(1)) // width):
            base = block * dim * width
            n_here = min(width, np.uint64(n_query) - block * width)
            for q in range(width):
                best[q] = -np.inf
            i, end = np.uint64(starts[n]), np.uint64(ends[n])
            while i < end:
                count = min(most, end - i)
                load_row(flat, i * dim, count * dim, rows, np.uint64(0))
                dot_float32(rows, dim, query, base, n_here, dots)
                for r in range(count):
                    for q in range(width):
                        x = dots[r * width + q]
                        best[q] = x if x > best[q] else best[q]
                i += count
            for q in range(n_here):
                total += best[q]
        out[n] = total


@kernel(*(t.void(read(t.float32, 1), read(kind, 2), written(t.float32, 2)) for kind in _FLOATS))
def dot_table(query: Any, vectors: Any, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.dot_table`; writes ``out`` ``(T, Q) float32``.

    ``query`` and ``vectors`` as in :func:`dot_scores`. A BLAS would start threads of its own for these small products,
    which wait for each other whenever another program has the cores.
    """
    dim, width, most = np.uint64(vectors.shape[1]), np.uint64(WIDTH), np.uint64(ROWS)
    n_query, n_rows = np.uint64(out.shape[1]), np.uint64(vectors.shape[0])
    flat = vectors.reshape(-1)
    rows = np.zeros(most * dim, np.float32)
    dots = np.empty(most * width, np.float32)
    i = np.uint64(0)
    while i < n_rows:
        count = min(most, n_rows - i)
        load_row(flat, i * dim, count * dim, rows, np.uint64(0))
        for block in range((n_query + width - np.uint64(1)) // width):
            first = block * width
            n_here = min(width, n_query - first)
            dot_float32(rows, dim, query, first * dim, n_here, dots)
            for r in range(count):
                for q in range(n_here):
                    out[i + r, first + q] = dots[r * width + q]
        i += count
