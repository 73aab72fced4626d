"""Query vectors in, ranked document keys out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import Codec, QuantisedQuery
from colbert_rag.kernels import blocked_query, maxsim
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.search.candidates import (
    ROUGH_SLACK,
    SLACK,
    Pruned,
    keep_best,
    n_candidates,
    n_finalists,
    prune,
    reach_of,
    table_steps,
)
from colbert_rag.search.snapshot import SegmentView, Snapshot
from colbert_rag.search.workers import Workers
from colbert_rag.types import Float32Array, SearchConfig

__all__ = ["Ranking", "rank", "rank_all"]

# a token that is scored exactly, or a centroid, costs many times as much as one that is scanned
_TOKENS_PER_THREAD = 20_000
# of plain vectors, as a reranking has them: a second thread is worth waking for a millisecond of work
_PLAIN_TOKENS_PER_THREAD = 10_000
# of candidates; with more it takes longer to score them in one thread than to wait for others, which score the
# centroids once more
_MANY_TOKENS = 80_000
_MANY_PER_CENTROID = 10
# queries that one thread takes at once: it waits for Python's lock once for all of them
_GROUP = 8

_Chosen = list[tuple[SegmentView, NDArray[np.int64]]]
_Found = list[tuple[SegmentView, NDArray[np.int64], NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query as the stages of a compressed search need it.

    Attributes:
        query: Rotated and quantised.
        centroid_scores: ``(K, Q) float32``.
        table: The same as bytes, ``(ceil(Q / WIDTH), K, WIDTH) uint8``: 255 is the best centroid of each query token, 0
            is ``reach_of`` below it or worse. A sum of entries differs from the sum of scores by a constant of the
            query, which leaves the order as it is.
    """

    query: QuantisedQuery
    centroid_scores: Float32Array
    table: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents that may belong to the best ``k``: the best ``k`` and all that tie with the last.

    Attributes:
        keys: ``(n,) int64``.
        scores: ``(n,) float32``, falling.
    """

    keys: NDArray[np.int64]
    scores: Float32Array


def rank(snapshot: Snapshot, query: Float32Array, k: int, config: SearchConfig, workers: Workers) -> Ranking:
    """:func:`rank_all` for one query."""
    [ranking] = rank_all(snapshot, [query], k, config, workers)
    return ranking


def rank_all(
    snapshot: Snapshot, queries: Sequence[Float32Array], k: int, config: SearchConfig, workers: Workers
) -> list[Ranking]:
    """Rank the live documents of a snapshot for each query.

    Args:
        snapshot: One commit.
        queries: ``(Q, D) float32`` each, rows of mean length 1.
        k: At least 1; more than there are documents gives all of them.
        config: How hard to try.
        workers: Threads to spread over.
    """
    codec = snapshot.codec
    if codec is None:
        return workers.each(lambda query, threads: _best(_plain(snapshot, query, threads), k), queries)
    if config.exact or n_candidates(k, config) >= snapshot.n_alive:
        return workers.each(lambda query, threads: _best(_exhaustive(snapshot, codec, query, threads), k), queries)
    size = min(_GROUP, -(-len(queries) // workers.n_threads))
    groups = [queries[n : n + size] for n in range(0, len(queries), max(1, size))]
    ranked = workers.each(lambda group, threads: _pruned(snapshot, codec, group, k, config, threads), groups)
    return list(chain.from_iterable(ranked))


def _plain(snapshot: Snapshot, query: Float32Array, workers: Workers) -> _Found:
    return [(view, *_score_plain(view, query, workers)) for view in snapshot.views]


def _exhaustive(snapshot: Snapshot, codec: Codec, query: Float32Array, workers: Workers) -> _Found:
    asked = _asked(codec, codec.quantise_query(query), workers)
    return _scored([(view, view.live) for view in snapshot.views], codec, asked, np.inf, workers)


def _pruned(
    snapshot: Snapshot, codec: Codec, group: Sequence[Float32Array], k: int, config: SearchConfig, workers: Workers
) -> list[Ranking]:
    quantised = codec.quantise_queries(group)
    many = _MANY_TOKENS + _MANY_PER_CENTROID * codec.n_centroids
    most_tokens = many if workers.n_threads > 1 else np.iinfo(np.int64).max
    found = prune(snapshot, codec, quantised, k, config, most_tokens)
    return [
        _best(part.by_view if part.is_scored else _spread(part, codec, quantised.one(n), k, workers), k)
        for n, part in enumerate(found)
    ]


def _spread(candidates: Pruned, codec: Codec, query: QuantisedQuery, k: int, workers: Workers) -> _Found:
    """The same scores as of a group, from all threads: for one query with many candidates."""
    asked, finalists = _asked(codec, query, workers), n_finalists(k)
    chosen = [(view, positions) for view, positions, _ in candidates.by_view]
    if finalists < sum(len(positions) for _, positions in chosen):
        chosen = _best_of(_scored(chosen, codec, asked, ROUGH_SLACK, workers), finalists)
    return _scored(chosen, codec, asked, SLACK, workers)


def _asked(codec: Codec, query: QuantisedQuery, workers: Workers) -> _Asked:
    from colbert_rag.kernels import cpu

    n_query, rows, blocked = len(query.scale), np.arange(codec.n_centroids), blocked_query(query.rotated)
    scores = np.empty((len(rows), n_query), np.float32)
    table = np.empty((-(-n_query // WIDTH), len(rows), WIDTH), np.uint8)

    def score(part: slice) -> None:
        cpu.dot_table(blocked, codec.centroids[part], scores[part])

    workers.spread(score, rows, rows + 1, _TOKENS_PER_THREAD)
    cpu.score_table(scores, reach_of(query.rotated), table)
    return _Asked(query, scores, table)


def _best_of(found: _Found, n: int) -> _Chosen:
    """The best ``n`` documents of all segments, and those that tie with the last of them."""
    kept = keep_best(np.concatenate([scores for _, _, scores in found]), n)
    cuts = kept.searchsorted(np.cumsum([0, *(len(scores) for _, _, scores in found)]))
    chosen, first = [], 0
    for (view, positions, scores), (a, b) in zip(found, pairwise(cuts.tolist()), strict=True):
        chosen.append((view, positions[kept[a:b] - first]))
        first += len(scores)
    return chosen


def _scored(chosen: _Chosen, codec: Codec, asked: _Asked, slack: float, workers: Workers) -> _Found:
    return [
        (view, positions, _residual_scores(view, codec, asked, positions, slack, workers)) for view, positions in chosen
    ]


def _score_plain(view: SegmentView, query: Float32Array, workers: Workers) -> tuple[NDArray[np.int64], Float32Array]:
    offsets, positions = view.segment.doc_offsets, view.live
    scores = np.empty(len(positions), np.float32)

    def score(part: slice) -> None:
        for run in _runs(positions, part):
            documents = slice(positions[run.start], positions[run.stop - 1] + 2)
            scores[run] = maxsim(query, view.segment.columns["vectors"], offsets[documents])

    workers.spread(score, *view.bounds, _PLAIN_TOKENS_PER_THREAD)
    return positions, scores


def _runs(positions: NDArray[np.int64], part: slice) -> Iterator[slice]:
    """Slices of a part in which every position follows the one before."""
    breaks = np.flatnonzero(np.diff(positions[part]) != 1) + 1
    for start, stop in pairwise([0, *breaks.tolist(), part.stop - part.start]):
        yield slice(part.start + start, part.start + stop)


def _residual_scores(
    view: SegmentView, codec: Codec, asked: _Asked, positions: NDArray[np.int64], slack: float, workers: Workers
) -> Float32Array:
    from colbert_rag.kernels import cpu

    starts, ends = view.segment.doc_offsets[positions], view.segment.doc_offsets[positions + 1]
    scores = np.empty(len(positions), np.float32)
    query = (asked.query.integers, asked.query.scale, asked.centroid_scores, asked.table, table_steps(slack))
    levels = (codec.grid.byte_levels, codec.grid.scales, codec.grid.norms)
    columns = view.segment.columns
    tokens = (columns["centroid_ids"], columns["codes"], columns["factors"])

    def score(part: slice) -> None:
        cpu.residual_scores(*query, *levels, *tokens, starts[part], ends[part], scores[part])

    workers.spread(score, starts, ends, _TOKENS_PER_THREAD)
    return scores


def _best(found: _Found, k: int) -> Ranking:
    if not found:
        return Ranking(np.zeros(0, np.int64), np.zeros(0, np.float32))
    keys = np.concatenate([view.segment.doc_keys[positions] for view, positions, _ in found])
    scores = np.concatenate([scores for _, _, scores in found])
    if k < len(scores):
        border = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= border)
        keys, scores = keys[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")
    return Ranking(keys[order], scores[order])
