"""A query's way through all segments in two calls: which documents are worth an exact score, and these scores.

Each call gives Python's lock away once. Were the stages called one by one, concurrent searches would wait for it
between them, for longer than some stages take.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import IDS, kernel, read, written
from colbert_rag.kernels.dense import dot_table
from colbert_rag.kernels.inverted import best_centroids, probe
from colbert_rag.kernels.residual import residual_scores
from colbert_rag.kernels.scanning import approximate_scores, score_table
from colbert_rag.kernels.segments import SEGMENTS, array_at
from colbert_rag.kernels.selecting import joined, keep_best, moved, numbers, taken

__all__ = ["candidates", "refined"]

# documents that lists have found are scored by all of their centroids, so many for each that is kept
_PROBED_PER_CANDIDATE = 4
_INT64 = t.Array(t.int64, 1, "C")
# one of the two a placeholder: the type of centroid ids differs from index to index
_NO_IDS = [read(ids, 1) for ids in IDS]

_dot_table, _score_table, _best_centroids = dot_table.inner, score_table.inner, best_centroids.inner
_probe, _approximate_scores, _residual_scores = probe.inner, approximate_scores.inner, residual_scores.inner


@nb.njit
def _bounds(segment: Any, positions: Any) -> Any:
    """Where the tokens of documents start and end."""
    offsets = array_at(segment.doc_offsets, (segment.n_documents + 1,), np.int64)
    starts, ends = np.empty(positions.size, np.int64), np.empty(positions.size, np.int64)
    for n in range(np.uint64(positions.size)):
        starts[n] = offsets[np.uint64(positions[n])]
        ends[n] = offsets[np.uint64(positions[n]) + np.uint64(1)]
    return starts, ends


@nb.njit
def _live(segment: Any) -> Any:
    if segment.live == 0:
        return numbers(segment.n_documents)
    return array_at(segment.live, (segment.n_live,), np.int64).copy()


@nb.njit
def _lists_to_open(table: Any, segments: Any, n_query: int, n_probe: int) -> Any:
    """Of each query token the best centroids and what they gain over the worst of them, where any segment has lists."""
    opened, gains = np.empty((n_query, n_probe), np.int64), np.empty((n_query, n_probe), np.uint8)
    is_probed = False
    for segment in segments:
        is_probed = is_probed or segment.list_offsets != 0
    if is_probed:
        _best_centroids(table, opened, gains)
        for q in range(n_query):
            worst = gains[q, n_probe - 1]
            for p in range(n_probe):
                gains[q, p] -= worst
    return opened, gains


@nb.njit
def _approximated(segment: Any, table: Any, no_ids: Any, positions: Any) -> Any:
    """Scores of documents from their centroid ids."""
    starts, ends = _bounds(segment, positions)
    ids = array_at(segment.centroid_ids, (segment.n_tokens,), no_ids.dtype)
    scores = np.empty(positions.size, np.uint32)
    _approximate_scores(table, ids, starts, ends, scores)
    return scores


@nb.njit
def _probed(segment: Any, opened: Any, gains: Any, wanted: int, k: int, seen: Any, totals: Any) -> Any:
    """The documents that the opened lists give the best scores, and whether the lists are sound."""
    n = segment.n_documents
    offsets = array_at(segment.list_offsets, (k + 1,), np.int64)
    postings = array_at(segment.postings, (segment.n_postings,), np.uint8)
    found, scores = np.empty(n, np.int64), np.empty(n, np.uint32)
    count = _probe(offsets, postings, opened, gains, seen[:n], totals[:n], found, scores)
    if count < 0:
        return numbers(0), False
    if segment.alive != 0:
        alive = array_at(segment.alive, (n,), np.uint8)
        n_here = 0
        for i in range(np.uint64(count)):
            found[n_here], scores[n_here] = found[i], scores[i]
            n_here += int(alive[np.uint64(found[i])] != 0)
        count = n_here
    return taken(found, keep_best(scores[:count], _PROBED_PER_CANDIDATE * wanted)), True


@kernel(
    *(
        _INT64(
            *(read(t.float32, 1), read(t.float32, 2), t.float32, SEGMENTS, ids, t.int64, t.int64),
            *(written(t.float32, 2), written(t.uint8, 3), written(t.uint32, 1), written(t.uint32, 1)),
            written(t.int64, 1),
        )
        for ids in _NO_IDS
    )
)
def candidates(
    query: Any,
    centroids: Any,
    reach: float,
    segments: Any,
    no_ids: Any,
    n_probe: int,
    wanted: int,
    centroid_scores: Any,
    table: Any,
    seen: Any,
    totals: Any,
    ends: Any,
) -> Any:
    """Positions of the best ``wanted`` documents by their centroid ids, and of those that tie with the last.

    Of a segment with lists these are among the documents that the lists speak for; with fewer than ``wanted`` of them,
    and where there are no lists, among all of its live documents. Compared with the stages of ``reference``.

    Args:
        query: Rotated and laid out as in ``dot_scores``.
        centroids: ``(K, D) float32``.
        reach: See ``reference.score_table``.
        segments: ``(S,)`` of ``SEGMENT``.
        no_ids: An array of the type of centroid ids.
        n_probe: Lists opened for each query token.
        wanted: Documents, 1 at least.
        centroid_scores: ``(K, Q) float32``, is filled.
        table: ``(B, K, WIDTH) uint8``, is filled.
        seen: Zeros, as many as the largest segment has documents; zeros again at the end.
        totals: The same.
        ends: ``(S,) int64``, is filled: where the positions of each segment end in the result. -1 for one whose lists
            are damaged, and the result means nothing.

    Returns:
        Positions, those of each segment behind the other's.
    """
    k = centroid_scores.shape[0]
    _dot_table(query, centroids, centroid_scores)
    _score_table(centroid_scores, reach, table)
    opened, gains = _lists_to_open(table, segments, centroid_scores.shape[1], min(n_probe, k))
    positions, scores = numbers(0), np.empty(0, np.uint32)
    for s in range(segments.size):
        segment, here, is_sound = segments[s], numbers(0), True
        if segment.list_offsets != 0:
            here, is_sound = _probed(segment, opened, gains, wanted, k, seen, totals)
        if not is_sound:
            ends[s] = -1
            return here
        if here.size < min(wanted, segment.n_live):
            here = _live(segment)
        approximate = _approximated(segment, table, no_ids, here)
        kept = keep_best(approximate, wanted)
        positions, scores = joined(positions, taken(here, kept)), joined(scores, taken(approximate, kept))
        ends[s] = positions.size
    kept = keep_best(scores, wanted)
    moved(ends, kept)
    return taken(positions, kept)


@nb.njit
def _exact(query: Any, slack: Any, levels: Any, segments: Any, no_ids: Any, positions: Any, ends: Any) -> Any:
    """Scores of documents from their codes."""
    scores, begin = np.empty(positions.size, np.float32), 0
    n_bytes = query[4]
    for s in range(segments.size):
        segment, end = segments[s], ends[s]
        if end > begin:
            starts, stops = _bounds(segment, positions[begin:end])
            ids = array_at(segment.centroid_ids, (segment.n_tokens,), no_ids.dtype)
            codes = array_at(segment.codes, (segment.n_tokens, n_bytes), np.uint8)
            factors = array_at(segment.factors, (segment.n_tokens, 2), np.uint8)
            _residual_scores(
                query[0], query[1], query[2], query[3], slack, levels[0], levels[1], levels[2],
                ids, codes, factors, starts, stops, scores[begin:end],
            )  # fmt: skip
        begin = end
    return scores


@kernel(
    *(
        t.Tuple((_INT64, t.Array(t.float32, 1, "C")))(
            *(read(t.int16, 1), read(t.float32, 1), read(t.float32, 2), read(t.uint8, 3), t.uint8, t.uint8),
            *(read(t.int16, 2), read(t.float32, 1), read(t.float32, 1), t.int64),
            *(SEGMENTS, ids, read(t.int64, 1), written(t.int64, 1), t.int64, t.int64),
        )
        for ids in _NO_IDS
    )
)
def refined(
    query: Any,
    query_scale: Any,
    centroid_scores: Any,
    table: Any,
    rough_slack: Any,
    slack: Any,
    byte_levels: Any,
    scales: Any,
    norms: Any,
    n_bytes: int,
    segments: Any,
    no_ids: Any,
    positions: Any,
    ends: Any,
    finalists: int,
    k: int,
) -> Any:
    """The best ``k`` of some documents and those that tie with the last, by their codes.

    The query and its levels are as in ``residual_scores``, ``segments``, ``no_ids``, ``positions`` and ``ends`` as in
    :func:`candidates`, whose tables come too; ``n_bytes`` is of the codes of a token. The best ``finalists`` documents
    with ``rough_slack`` are scored with ``slack``. Returns positions, and ``float32`` scores, each segment's behind the
    other's; ``ends`` is changed to where these end.
    """
    asked = (query, query_scale, centroid_scores, table, n_bytes)
    levels = (byte_levels, scales, norms)
    if finalists < positions.size:
        kept = keep_best(_exact(asked, rough_slack, levels, segments, no_ids, positions, ends), finalists)
        positions = taken(positions, kept)
        moved(ends, kept)
    scores = _exact(asked, slack, levels, segments, no_ids, positions, ends)
    kept = keep_best(scores, k)
    moved(ends, kept)
    return taken(positions, kept), taken(scores, kept)
