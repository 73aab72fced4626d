"""A query's scores with the centroids: of those that lie near it, and then of those that its candidates need.

Where centroids that follow one another resemble one another, a group of them is known by its direction, and most groups
are too far from all of the query's tokens to hold a centroid that any document is found by.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from colbert_rag.kernels.dense import dot_table
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.kernels.scanning import score_table
from colbert_rag.kernels.segments import array_at
from colbert_rag.kernels.selecting import numbers
from colbert_rag.kernels.simd import ROWS, bits_within, dot_float32, enter_scores, fetch, load_row, take_scores

__all__ = ["complete", "make_do", "tables"]

# centroids ahead of the one that is scored, which are on their way from memory
_AHEAD = 16

_dot_table, _score_table = dot_table.inner, score_table.inner


@nb.njit
def _blocked(rows: Any) -> Any:
    """Rows of a query as ``dot_table`` reads them, see ``maxsim.blocked_query``."""
    n_query, dim, width = np.uint64(rows.shape[0]), np.uint64(rows.shape[1]), np.uint64(WIDTH)
    n_blocks = (n_query + width - np.uint64(1)) // width
    blocked = np.zeros(n_blocks * dim * width, np.float32)
    for q in range(n_query):
        first = q // width * dim * width + q % width
        for d in range(dim):
            blocked[first + d * width] = rows[q, d]
    return blocked


@nb.njit
def _thresholds(entries: Any, block: int, n_query: int, n_opened: int) -> Any:
    """Of each query token of a block the entry that the best ``n_opened`` groups reach; 255 beyond the query's end."""
    found, width = np.full(WIDTH, np.uint8(255)), np.uint64(WIDTH)
    counts = np.zeros((WIDTH, 256), np.int64)
    for g in range(np.uint64(entries.shape[1])):
        for q in range(width):
            counts[q, np.uint64(entries[np.uint64(block), g, q])] += 1
    for q in range(min(WIDTH, n_query - block * WIDTH)):
        entry, n = 255, counts[q, 255]
        while n < n_opened and entry > 0:
            entry -= 1
            n += counts[q, entry]
        found[q] = entry
    return found


@nb.njit
def _opened(query: Any, n_query: int, directions: Any, n_opened: int, reach: Any) -> Any:
    """Which groups are among the best of any query token; ``(G,) bool``."""
    n = directions.shape[0]
    scores = np.empty((n, n_query), np.float32)
    entries = np.empty(((n_query + WIDTH - 1) // WIDTH, n, WIDTH), np.uint8)
    _dot_table(query, directions, scores)
    _score_table(scores, reach, entries)
    is_opened, flat = np.zeros(n, np.bool_), entries.reshape(-1)
    for block in range(entries.shape[0]):
        thresholds = _thresholds(entries, block, n_query, n_opened)
        lanes = np.uint32(0xFFFFFFFF) >> np.uint32(WIDTH - min(WIDTH, n_query - block * WIDTH))
        for g in range(np.uint64(n)):
            place = (np.uint64(block * n) + g) * np.uint64(WIDTH)
            if bits_within(flat, place, thresholds, np.uint8(0)) & lanes != np.uint32(0):
                is_opened[g] = True
    return is_opened


@nb.njit
def _score(query: Any, centroids: Any, chosen: Any, scores: Any, tops: Any) -> None:
    """Scores of some centroids, into their rows, and the best of each query token."""
    dim, width, most = np.uint64(centroids.shape[1]), np.uint64(WIDTH), np.uint64(ROWS)
    n_columns, n_chosen = np.uint64(scores.shape[1]), np.uint64(chosen.size)
    flat, out = centroids.reshape(-1), scores.reshape(-1)
    rows, dots = np.zeros(most * dim, np.float32), np.empty(most * width, np.float32)
    i = np.uint64(0)
    while i < n_chosen:
        count = min(most, n_chosen - i)
        for r in range(count):
            load_row(flat, np.uint64(chosen[i + r]) * dim, dim, rows, r * dim)
            ahead = np.uint64(chosen[min(i + r + np.uint64(_AHEAD), n_chosen - np.uint64(1))]) * dim
            for d in range(np.uint64(0), dim, np.uint64(16)):
                fetch(flat, ahead + d)
        for first in range(np.uint64(0), n_columns, width):
            dot_float32(rows, dim, query, first * dim, width, dots)
            for r in range(count):
                take_scores(dots, r * width, out, np.uint64(chosen[i + r]) * n_columns + first, tops, first)
        i += count


@nb.njit
def _enter(scores: Any, chosen: Any, floors: Any, reach: Any, table: Any) -> None:
    """Write rows of the table; an entry above the best that was known is 255."""
    k, n_columns, width = np.uint64(scores.shape[0]), np.uint64(scores.shape[1]), np.uint64(WIDTH)
    step, flat, out = np.float32(255) / reach, scores.reshape(-1), table.reshape(-1)
    for first in range(np.uint64(0), n_columns, width):
        for i in range(np.uint64(chosen.size)):
            c = np.uint64(chosen[i])
            enter_scores(flat, c * n_columns + first, floors, first, step, out, first * k + c * width)


@nb.njit
def _centroids_of(is_opened: Any, size: int, k: int) -> Any:
    chosen, n_chosen = np.empty(k, np.int64), 0
    for g in range(is_opened.size):
        if is_opened[g]:
            for c in range(g * size, min((g + 1) * size, k)):
                chosen[n_chosen] = c
                n_chosen += 1
    return chosen[:n_chosen]


@nb.njit
def tables(rows: Any, centroids: Any, groups: Any, reach: Any) -> Any:
    """A query with the centroids of the groups that it opens.

    Args:
        rows: Of the query, ``(Q, D) float32``.
        centroids: ``(K, D) float32``.
        groups: Their directions ``(G, D) float32``, how many centroids each has, and how many are opened for each query
            token. Without directions all centroids count.
        reach: See ``reference.score_table``.

    Returns:
        The query in blocks; scores ``(K, B * WIDTH) float32``; ``reach`` below the best of each query token; the table
        of ``reference.score_table`` with zeros for centroids of other groups; and which have scores, ``(K,) bool``.
    """
    directions, size, n_opened = groups
    k, n_query, query = centroids.shape[0], rows.shape[0], _blocked(rows)
    n_blocks = (n_query + WIDTH - 1) // WIDTH
    scores, floors = np.empty((k, n_blocks * WIDTH), np.float32), np.full(n_blocks * WIDTH, np.float32(-np.inf))
    table, is_scored = np.zeros((n_blocks, k, WIDTH), np.uint8), np.ones(k, np.bool_)
    chosen = numbers(k)
    if directions.shape[0] > 0:
        is_scored[:] = False
        chosen = _centroids_of(_opened(query, n_query, directions, n_opened, reach), size, k)
        for i in range(np.uint64(chosen.size)):
            is_scored[np.uint64(chosen[i])] = True
    _score(query, centroids, chosen, scores, floors)
    for q in range(floors.size):
        # no entries beyond the query's end
        floors[q] = floors[q] - reach if q < n_query else np.float32(np.inf)
    _enter(scores, chosen, floors, reach, table)
    return query, scores, floors, table, is_scored


@nb.njit
def complete(asked: Any, centroids: Any, reach: Any, segments: Any, no_ids: Any, positions: Any, ends: Any) -> None:
    """Fill in what :func:`tables` left out of the centroids of some documents' tokens."""
    query, scores, floors, table, is_scored = asked
    missing = _missing(is_scored, segments, no_ids, positions, ends)
    _score(query, centroids, missing, scores, np.empty(floors.size, np.float32))
    _enter(scores, missing, floors, reach, table)


@nb.njit
def make_do(asked: Any, segments: Any, no_ids: Any, positions: Any, ends: Any) -> None:
    """The same with the least scores that the table tells apart, which costs a fraction; they count as missing."""
    scores, floors, is_scored = asked[1], asked[2], asked[4]
    missing = _missing(is_scored, segments, no_ids, positions, ends)
    flat, n_columns = scores.reshape(-1), np.uint64(floors.size)
    for i in range(np.uint64(missing.size)):
        is_scored[np.uint64(missing[i])] = False
        for q in range(n_columns):
            flat[np.uint64(missing[i]) * n_columns + q] = floors[q]


@nb.njit
def _missing(is_scored: Any, segments: Any, no_ids: Any, positions: Any, ends: Any) -> Any:
    """The centroids of some documents' tokens that have no scores; marks them as if they had."""
    missing, n_missing, begin = np.empty(is_scored.size, np.int64), 0, 0
    for s in range(segments.size):
        offsets = array_at(segments[s].doc_offsets, (segments[s].n_documents + 1,), np.int64)
        ids = array_at(segments[s].centroid_ids, (segments[s].n_tokens,), no_ids.dtype)
        for n in range(begin, ends[s]):
            position = np.uint64(positions[n])
            for i in range(np.uint64(offsets[position]), np.uint64(offsets[position + np.uint64(1)])):
                c = np.uint64(ids[i])
                if not is_scored[c]:
                    is_scored[c] = True
                    missing[n_missing] = np.int64(c)
                    n_missing += 1
        begin = ends[s]
    return missing[:n_missing]
