"""The way of some queries through all segments: which documents are worth an exact score, and these scores.

All of it is one call, which gives Python's lock away once. Were the stages called one by one, concurrent searches would
wait for it between them, for longer than some stages take.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import IDS, kernel, read, written
from colbert_rag.kernels.inverted import best_centroids, probe
from colbert_rag.kernels.residual import residual_scores
from colbert_rag.kernels.scanning import approximate_scores
from colbert_rag.kernels.segments import SEGMENTS, array_at
from colbert_rag.kernels.selecting import joined, keep_best, moved, numbers, taken
from colbert_rag.kernels.tables import complete, make_do, tables

__all__ = ["pruned"]

# documents that lists have found are scored by all of their centroids, so many for each that is kept
_PROBED_PER_CANDIDATE = 4
_INT64 = t.Array(t.int64, 1, "C")
# one of the two a placeholder: the type of centroid ids differs from index to index
_NO_IDS = [read(ids, 1) for ids in IDS]

_best_centroids, _probe = best_centroids.inner, probe.inner
_approximate_scores, _residual_scores = approximate_scores.inner, residual_scores.inner


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
def _probed(segment: Any, opened: Any, gains: Any, k: int, seen: Any, totals: Any) -> Any:
    """The live documents that stand in the opened lists, what they gain, and whether the lists are sound."""
    n = segment.n_documents
    offsets = array_at(segment.list_offsets, (k + 1,), np.int64)
    postings = array_at(segment.postings, (segment.n_postings,), np.uint8)
    found, scores = np.empty(n, np.int64), np.empty(n, np.uint32)
    count = _probe(offsets, postings, opened, gains, seen[:n], totals[:n], found, scores)
    if segment.alive != 0 and count > 0:
        alive = array_at(segment.alive, (n,), np.uint8)
        n_here = 0
        for i in range(np.uint64(count)):
            found[n_here], scores[n_here] = found[i], scores[i]
            n_here += int(alive[np.uint64(found[i])] != 0)
        count = n_here
    return found[: max(count, 0)], scores[: max(count, 0)], count >= 0


@nb.njit
def _promising(table: Any, n_query: int, segments: Any, effort: Any, work: Any, ends: Any) -> Any:
    """Positions of the documents that gain most from the lists of all segments, and of which segments these speak.

    Where a segment has no lists, or they name fewer documents than are wanted, all of its live documents count. -1 for
    ``ends`` of a segment whose lists are not sound.
    """
    n_probe, wanted = effort
    k, n_most = table.shape[1], _PROBED_PER_CANDIDATE * wanted
    opened, gains = _lists_to_open(table, segments, n_query, min(n_probe, k))
    positions, scores, is_probed = numbers(0), np.empty(0, np.uint32), np.zeros(segments.size, np.bool_)
    for s in range(segments.size):
        if segments[s].list_offsets != 0:
            found, gained, is_sound = _probed(segments[s], opened, gains, k, work[0], work[1])
            if not is_sound:
                ends[s] = -1
                return numbers(0), is_probed
            is_probed[s] = found.size >= min(wanted, segments[s].n_live)
            if is_probed[s]:
                kept = keep_best(gained, n_most)
                positions, scores = joined(positions, taken(found, kept)), joined(scores, taken(gained, kept))
        ends[s] = positions.size
    kept = keep_best(scores, n_most)
    moved(ends, kept)
    return taken(positions, kept), is_probed


@nb.njit
def _left(table: Any, n_query: int, segments: Any, effort: Any, work: Any, ends: Any) -> Any:
    """Positions of the documents that are scored by all of their centroids, and whether all lists are sound."""
    promising, is_probed = _promising(table, n_query, segments, effort, work, ends)
    positions, begin = numbers(0), 0
    for s in range(segments.size):
        if ends[s] < 0:
            return positions, False
        positions = joined(positions, promising[begin : ends[s]] if is_probed[s] else _live(segments[s]))
        begin = ends[s]
        ends[s] = positions.size
    return positions, True


@nb.njit
def _candidates(asked: Any, n_query: int, codec: Any, index: Any, effort: Any, work: Any, ends: Any) -> Any:
    """Positions of the documents with the best approximate scores of all segments, and whether all lists are sound."""
    (centroids, _, reach), (segments, no_ids), (_, wanted) = codec, index, effort
    left, is_sound = _left(asked[3], n_query, segments, effort, work, ends)
    if not is_sound:
        return left, False
    # as behind a narrow filter: then many of the centroids that count are far from the query
    if _n_tokens(segments, left, ends) <= centroids.shape[0]:
        complete(asked, centroids, reach, segments, no_ids, left, ends)
    positions, scores, begin = numbers(0), np.empty(0, np.uint32), 0
    for s in range(segments.size):
        here = left[begin : ends[s]]
        begin = ends[s]
        approximate = _approximated(segments[s], asked[3], no_ids, here)
        kept = keep_best(approximate, wanted)
        positions, scores = joined(positions, taken(here, kept)), joined(scores, taken(approximate, kept))
        ends[s] = positions.size
    kept = keep_best(scores, wanted)
    moved(ends, kept)
    return taken(positions, kept), True


@nb.njit
def _n_tokens(segments: Any, positions: Any, ends: Any) -> int:
    total, begin = 0, 0
    for s in range(segments.size):
        offsets = array_at(segments[s].doc_offsets, (segments[s].n_documents + 1,), np.int64)
        for n in range(begin, ends[s]):
            total += offsets[positions[n] + 1] - offsets[positions[n]]
        begin = ends[s]
    return total


@nb.njit
def _exact(query: Any, slack: Any, levels: Any, segments: Any, no_ids: Any, positions: Any, ends: Any) -> Any:
    """Scores of documents from their codes."""
    integers, query_scale, centroid_scores, table = query
    byte_levels, scales, norms, n_bytes = levels
    scores, begin = np.empty(positions.size, np.float32), 0
    for s in range(segments.size):
        segment, end = segments[s], ends[s]
        if end > begin:
            starts, stops = _bounds(segment, positions[begin:end])
            ids = array_at(segment.centroid_ids, (segment.n_tokens,), no_ids.dtype)
            codes = array_at(segment.codes, (segment.n_tokens, n_bytes), np.uint8)
            factors = array_at(segment.factors, (segment.n_tokens, 2), np.uint8)
            _residual_scores(
                *(integers, query_scale, centroid_scores, table, slack, byte_levels, scales, norms),
                *(ids, codes, factors, starts, stops, scores[begin:end]),
            )
        begin = end
    return scores


@nb.njit
def _refined(asked: Any, query: Any, codec: Any, slacks: Any, sizes: Any, index: Any, positions: Any, ends: Any) -> Any:
    """The best of the candidates, and their scores."""
    (centroids, levels, reach), (finalists, k), (segments, no_ids) = codec, sizes, index
    if finalists < positions.size:
        make_do(asked, segments, no_ids, positions, ends)
        kept = keep_best(_exact(query, slacks[0], levels, segments, no_ids, positions, ends), finalists)
        positions = taken(positions, kept)
        moved(ends, kept)
    complete(asked, centroids, reach, segments, no_ids, positions, ends)
    scores = _exact(query, slacks[1], levels, segments, no_ids, positions, ends)
    kept = keep_best(scores, k)
    moved(ends, kept)
    return taken(positions, kept), taken(scores, kept)


@kernel(
    *(
        t.Tuple((_INT64, t.Array(t.float32, 1, "C")))(
            *(read(t.float32, 2), read(t.int16, 1), read(t.float32, 1), read(t.int64, 1)),
            *(read(t.float32, 2), read(t.float32, 2), t.int64, read(t.int64, 1)),
            *(read(t.int16, 2), read(t.float32, 1), read(t.float32, 1)),
            *(SEGMENTS, ids),
            *(read(t.float32, 1), t.int64, t.int64, t.int64, t.int64, t.int64, t.uint8, t.uint8),
            *(written(t.uint32, 1), written(t.uint32, 1), written(t.int64, 2), written(t.bool_, 1)),
        )
        for ids in _NO_IDS
    )
)
def pruned(
    rotated: Any,
    integers: Any,
    query_scale: Any,
    query_ends: Any,
    centroids: Any,
    directions: Any,
    group_size: int,
    n_opened: Any,
    byte_levels: Any,
    scales: Any,
    norms: Any,
    segments: Any,
    no_ids: Any,
    reach: Any,
    n_probe: int,
    wanted: int,
    most_tokens: int,
    finalists: int,
    k: int,
    rough_slack: Any,
    slack: Any,
    seen: Any,
    totals: Any,
    ends: Any,
    is_scored: Any,
) -> Any:
    """For each query the best ``k`` documents and those that tie with the last; compared with ``reference``'s stages.

    The best ``wanted`` by centroid ids, and those that tie with the last, are the candidates; of these the best
    ``finalists`` by their codes with ``rough_slack``, and those that tie with the last, are scored with ``slack``.
    Until then centroids of groups that are not opened count as ``reach`` below the best, unless few documents are left.

    Args:
        rotated: Rows of all queries, ``(T, D) float32``.
        integers: The same in integers, as in ``residual_scores``.
        query_scale: ``(T,) float32``.
        query_ends: ``(G,) int64``: where the rows of each query end.
        centroids: ``(K, D) float32``.
        directions: ``(G, D) float32``: of groups of centroids that follow one another; none where these are no groups.
        group_size: Centroids of each group but the last.
        n_opened: ``(G,) int64``: groups that are looked at for each token of a query, see ``reference.opened_groups``.
        byte_levels: As in ``residual_scores``.
        scales: The same.
        norms: The same.
        segments: ``(S,)`` of ``SEGMENT``.
        no_ids: An array of the type of centroid ids.
        reach: ``(G,) float32``, see ``reference.score_table``.
        n_probe: Lists opened for each query token.
        wanted: Documents, at least 1, as ``finalists`` and ``k``.
        most_tokens: Where the candidates of a query have so many or more, they are its result.
        finalists: Documents.
        k: Documents.
        rough_slack: In steps of the table, as ``slack``.
        slack: See ``reference.residual_scores``.
        seen: Zeros, as many as the largest segment with lists has documents; zeros again at the end.
        totals: The same.
        ends: ``(G, S) int64``, is filled: where the documents of each query and segment end in its part of the result.
            -1 for a segment whose lists are damaged, and the result means nothing.
        is_scored: ``(G,) bool``, is filled: False where the result are candidates without scores.

    Returns:
        Positions and ``float32`` scores; query by query, segment by segment.
    """
    per_byte, dim = byte_levels.shape[1], rotated.shape[1]
    levels = (byte_levels, scales, norms, (dim + per_byte - 1) // per_byte)
    packed = integers.size // query_scale.size
    found, scores_of_found, begin = numbers(0), np.empty(0, np.float32), 0
    for g in range(query_ends.size):
        end = query_ends[g]
        asked = tables(rotated[begin:end], centroids, (directions, group_size, n_opened[g]), reach[g])
        codec, index = (centroids, levels, reach[g]), (segments, no_ids)
        effort, work = (n_probe, wanted), (seen, totals)
        positions, is_sound = _candidates(asked, end - begin, codec, index, effort, work, ends[g])
        if not is_sound:
            return found, scores_of_found
        is_scored[g] = _n_tokens(segments, positions, ends[g]) < most_tokens
        scores = np.zeros(positions.size, np.float32)
        if is_scored[g]:
            query = (integers[begin * packed : end * packed], query_scale[begin:end], asked[1], asked[3])
            slacks, sizes = (rough_slack, slack), (finalists, k)
            positions, scores = _refined(asked, query, codec, slacks, sizes, index, positions, ends[g])
        found, scores_of_found = joined(found, positions), joined(scores_of_found, scores)
        begin = end
    return found, scores_of_found
