"""Query vectors in, ranked document keys out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import Codec, QuantisedQuery
from colbert_rag.kernels import blocked_query, maxsim
from colbert_rag.search.candidates import (
    REACH,
    Asked,
    Candidates,
    find_candidates,
    keep_best,
    n_candidates,
    table_shape,
    table_steps,
)
from colbert_rag.search.snapshot import SegmentView, Snapshot
from colbert_rag.search.workers import Workers
from colbert_rag.types import Float32Array, SearchConfig

__all__ = ["Ranking", "rank"]

# a token that is scored exactly, or a centroid, costs many times as much as one that is scanned
_TOKENS_PER_THREAD = 20_000
# a residual hardly ever lifts a token from so far below to the best of a query token
_SLACK = 0.3
# enough to tell which candidates may be among the hits, at a quarter of the time
_ROUGH_SLACK = 0.07
# of candidates; with more it takes longer to score them in one thread than to wait for others
_MANY_TOKENS = 80_000
# documents that are scored with the wide slack, and how many of them for each hit that is asked for
_FINALISTS = 32
_FINALISTS_PER_HIT = 3

_Chosen = list[tuple[SegmentView, NDArray[np.int64]]]
_Found = list[tuple[SegmentView, NDArray[np.int64], NDArray[Any]]]


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
    """Rank the live documents of a snapshot for one query.

    Args:
        snapshot: One commit.
        query: ``(Q, D) float32``, unit rows.
        k: At least 1; more than there are documents gives all of them.
        config: How hard to try.
        workers: Threads to spread over.
    """
    if snapshot.codec is None:
        found = [(view, *_score_plain(view, query, workers)) for view in snapshot.views]
    else:
        found = _search_compressed(snapshot, snapshot.codec, query, k, config, workers)
    return _best(found, k)


def _search_compressed(
    snapshot: Snapshot, codec: Codec, query: Float32Array, k: int, config: SearchConfig, workers: Workers
) -> _Found:
    quantised = codec.quantise_query(query)
    wanted = n_candidates(k, config)
    if config.exact or wanted >= snapshot.n_alive:
        asked = _asked(codec, quantised, workers)
        return _scored([(view, view.live) for view in snapshot.views], codec, asked, np.inf, workers)
    candidates = find_candidates(snapshot, codec, quantised, wanted, config.n_probe)
    finalists = max(_FINALISTS, _FINALISTS_PER_HIT * k)
    chosen = list(candidates.by_view(snapshot))
    if workers.n_threads == 1 or _n_tokens(chosen) < _MANY_TOKENS:
        return _refined(snapshot, codec, candidates, finalists, k)
    if finalists < len(candidates.positions):
        chosen = _best_of(_scored(chosen, codec, candidates.asked, _ROUGH_SLACK, workers), finalists)
    return _scored(chosen, codec, candidates.asked, _SLACK, workers)


def _asked(codec: Codec, query: QuantisedQuery, workers: Workers) -> Asked:
    from colbert_rag.kernels import cpu

    n_query, rows, blocked = len(query.scale), np.arange(codec.n_centroids), blocked_query(query.rotated)
    scores = np.empty((len(rows), n_query), np.float32)
    table = np.empty(table_shape(n_query, len(rows)), np.uint8)

    def score(part: slice) -> None:
        cpu.dot_table(blocked, codec.centroids[part], scores[part])

    workers.spread(score, rows, rows + 1, _TOKENS_PER_THREAD)
    cpu.score_table(scores, REACH, table)
    return Asked(query, scores, table)


def _n_tokens(chosen: _Chosen) -> int:
    return sum(
        int((view.segment.doc_offsets[positions + 1] - view.segment.doc_offsets[positions]).sum())
        for view, positions in chosen
    )


def _refined(snapshot: Snapshot, codec: Codec, candidates: Candidates, finalists: int, k: int) -> _Found:
    """The best ``k`` of the candidates, without giving the lock away in between."""
    from colbert_rag.kernels import cpu

    asked, ends = candidates.asked, candidates.ends.copy()
    query = (asked.query.integers, asked.query.scale, asked.centroid_scores, asked.table)
    levels = (codec.grid.byte_levels, codec.grid.scales, codec.grid.norms, codec.code_bytes)
    positions, scores = cpu.refined(
        *(*query, table_steps(_ROUGH_SLACK), table_steps(_SLACK), *levels),
        *(candidates.described.segments, np.empty(0, codec.id_dtype), candidates.positions, ends, finalists, k),
    )
    bounds = pairwise([0, *ends.tolist()])
    return [(view, positions[a:b], scores[a:b]) for view, (a, b) in zip(snapshot.views, bounds, strict=True)]


def _best_of(found: _Found, n: int) -> _Chosen:
    """The best ``n`` documents of all segments, and those that tie with the last of them."""
    kept = keep_best(np.concatenate([scores for _, _, scores in found]), n)
    cuts = kept.searchsorted(np.cumsum([0, *(len(scores) for _, _, scores in found)]))
    chosen, first = [], 0
    for (view, positions, scores), (a, b) in zip(found, pairwise(cuts.tolist()), strict=True):
        chosen.append((view, positions[kept[a:b] - first]))
        first += len(scores)
    return chosen


def _scored(chosen: _Chosen, codec: Codec, asked: Asked, slack: float, workers: Workers) -> _Found:
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

    workers.spread(score, *view.bounds, _TOKENS_PER_THREAD)
    return positions, scores


def _runs(positions: NDArray[np.int64], part: slice) -> Iterator[slice]:
    """Slices of a part in which every position follows the one before."""
    breaks = np.flatnonzero(np.diff(positions[part]) != 1) + 1
    for start, stop in pairwise([0, *breaks.tolist(), part.stop - part.start]):
        yield slice(part.start + start, part.start + stop)


def _residual_scores(
    view: SegmentView, codec: Codec, asked: Asked, positions: NDArray[np.int64], slack: float, workers: Workers
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
