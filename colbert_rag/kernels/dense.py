"""Dot products of float32 vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import RANGE, kernel, read, written
from colbert_rag.kernels.layout import WIDTH

__all__ = ["dot_scores", "dot_table"]


@kernel(
    t.void(read(t.float32, 1), t.int64, read(t.float32, 2), *RANGE, written(t.float32, 1)),
    fastmath={"contract"},
)
def dot_scores(query: Any, n_query: int, vectors: Any, starts: Any, ends: Any, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.dot_scores`; writes ``out`` ``(N,) float32``.

    ``query`` is flat and transposed in blocks: ``(ceil(Q / WIDTH), D, WIDTH) float32``, padded with
    zeros. Each sum runs over the dimensions in one fixed order, so equal documents get equal scores.
    """
    dim = np.uint64(vectors.shape[1])
    width = np.uint64(WIDTH)
    n_blocks = np.uint64((n_query + WIDTH - 1) // WIDTH)
    dots = np.empty(WIDTH, np.float32)
    best = np.empty(WIDTH, np.float32)
    for n in range(np.uint64(starts.size)):
        total = np.float32(0)
        for block in range(n_blocks):
            for q in range(width):
                best[q] = -np.inf
            for i in range(np.uint64(starts[n]), np.uint64(ends[n])):
                for q in range(width):
                    dots[q] = np.float32(0)
                d = np.uint64(0)
                base = block * dim * width
                # four dimensions a step keep the sums in registers
                while d + np.uint64(4) <= dim:
                    v0 = vectors[i, d]
                    v1 = vectors[i, d + np.uint64(1)]
                    v2 = vectors[i, d + np.uint64(2)]
                    v3 = vectors[i, d + np.uint64(3)]
                    for q in range(width):
                        p = base + q
                        s = dots[q] + v0 * query[p]
                        s = s + v1 * query[p + width]
                        s = s + v2 * query[p + np.uint64(2) * width]
                        dots[q] = s + v3 * query[p + np.uint64(3) * width]
                    base += np.uint64(4) * width
                    d += np.uint64(4)
                while d < dim:
                    v0 = vectors[i, d]
                    for q in range(width):
                        dots[q] = dots[q] + v0 * query[base + q]
                    base += width
                    d += np.uint64(1)
                for q in range(width):
                    best[q] = dots[q] if dots[q] > best[q] else best[q]
            for q in range(min(width, np.uint64(n_query) - block * width)):
                total += best[q]
        out[n] = total


@kernel(t.void(read(t.float32, 1), read(t.float32, 2), written(t.float32, 2)), fastmath={"contract"})
def dot_table(query: Any, vectors: Any, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.dot_table`; writes ``out`` ``(T, Q) float32``.

    ``query`` as in :func:`dot_scores`. A BLAS would start threads of its own for these small products,
    which wait for each other whenever another program has the cores.
    """
    dim = np.uint64(vectors.shape[1])
    width = np.uint64(WIDTH)
    n_query = np.uint64(out.shape[1])
    dots = np.empty(WIDTH, np.float32)
    for i in range(np.uint64(vectors.shape[0])):
        for block in range((n_query + width - np.uint64(1)) // width):
            for q in range(width):
                dots[q] = np.float32(0)
            base = block * dim * width
            d = np.uint64(0)
            while d + np.uint64(4) <= dim:
                v0 = vectors[i, d]
                v1 = vectors[i, d + np.uint64(1)]
                v2 = vectors[i, d + np.uint64(2)]
                v3 = vectors[i, d + np.uint64(3)]
                for q in range(width):
                    p = base + q
                    s = dots[q] + v0 * query[p]
                    s = s + v1 * query[p + width]
                    s = s + v2 * query[p + np.uint64(2) * width]
                    dots[q] = s + v3 * query[p + np.uint64(3) * width]
                base += np.uint64(4) * width
                d += np.uint64(4)
            while d < dim:
                v0 = vectors[i, d]
                for q in range(width):
                    dots[q] = dots[q] + v0 * query[base + q]
                base += width
                d += np.uint64(1)
            first = block * width
            for q in range(min(width, n_query - first)):
                out[i, first + q] = dots[q]
