"""The approximate pass: scores from centroid ids alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import IDS, RANGE, kernel, read, written
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.kernels.simd import best_entries

__all__ = ["approximate_scores", "score_table"]


@kernel(*(t.void(read(t.uint8, 3), read(ids, 1), *RANGE, written(t.uint32, 1)) for ids in IDS))
def approximate_scores(table: Any, centroid_ids: Any, starts: Any, ends: Any, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.approximate_scores`; writes ``out`` ``(N,) uint32``."""
    width = np.uint64(WIDTH)
    rows = table.reshape(-1)
    best = np.empty(width, np.uint8)
    for n in range(np.uint64(starts.size)):
        total = np.uint32(0)
        for block in range(np.uint64(table.shape[0])):
            base = block * np.uint64(table.shape[1]) * width
            best_entries(rows, base, centroid_ids, np.uint64(starts[n]), np.uint64(ends[n]), best)
            for q in range(width):
                total += np.uint32(best[q])
        out[n] = total


@kernel(t.void(read(t.float32, 2), t.float32, written(t.uint8, 3)))
def score_table(centroid_scores: Any, reach: float, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.score_table`; writes ``out`` ``(B, K, WIDTH) uint8``."""
    n_query = np.uint64(centroid_scores.shape[1])
    width = np.uint64(WIDTH)
    top = np.empty(width, np.float32)
    step = np.float32(255) / reach
    for block in range(np.uint64(out.shape[0])):
        first = block * width
        n_here = min(width, n_query - first)
        for q in range(width):
            top[q] = -np.inf
        for k in range(np.uint64(out.shape[1])):
            for q in range(n_here):
                x = centroid_scores[k, first + q]
                top[q] = x if x > top[q] else top[q]
        for k in range(np.uint64(out.shape[1])):
            for q in range(n_here):
                x = (centroid_scores[k, first + q] - (top[q] - reach)) * step
                # of a score so high that what it differs by is lost, a step may lie above the last
                out[block, k, q] = np.uint8(min(x, np.float32(255))) if x > np.float32(0) else np.uint8(0)
            for q in range(n_here, width):
                out[block, k, q] = 0
