"""Query vectors in, ranked document keys out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import Codec, QuantisedQuery
from colbert_rag.kernels import maxsim, token_similarities
from colbert_rag.search.candidates import approximate, keep_best, probed_centroids, score_table
from colbert_rag.search.snapshot import SegmentView, Snapshot
from colbert_rag.search.workers import Workers
from colbert_rag.types import Float32Array, SearchConfig

__all__ = ["Ranking", "rank"]

# an exactly scored token costs some hundred nanoseconds, so threads pay off sooner than in a scan
_TOKENS_PER_THREAD = 2_000
# a residual hardly ever lifts a token from so far below to the best of a query token: 0.3 left the share of
# exact's top 10 on SciFact as it was, 0.2 did not
_SLACK = 0.3
# the last of k hits often lies a good deal lower in the approximate order
_CANDIDATES_PER_HIT = 4


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
) -> list[tuple[SegmentView, NDArray[np.int64], Float32Array]]:
    quantised = codec.quantise_query(query)
    centroid_scores = _centroid_scores(codec, quantised, workers)
    wanted = max(config.n_candidates, _CANDIDATES_PER_HIT * k)
    if config.exact or wanted >= snapshot.n_alive:
        slack = np.float32(np.inf)
        chosen = [(view, _live(view)) for view in snapshot.views]
    else:
        slack = np.float32(_SLACK)
        chosen = _candidates(snapshot, centroid_scores, wanted, config, workers)
    return [
        (view, positions, _score_compressed(view, codec, quantised, centroid_scores, positions, slack, workers))
        for view, positions in chosen
    ]


def _centroid_scores(codec: Codec, query: QuantisedQuery, workers: Workers) -> Float32Array:
    rows = np.arange(codec.n_centroids)
    scores = np.empty((len(rows), len(query.scale)), np.float32)

    def score(part: slice) -> None:
        scores[part] = token_similarities(query.rotated, codec.centroids[part])

    workers.spread(score, rows, rows + 1, _TOKENS_PER_THREAD)
    return scores


def _candidates(
    snapshot: Snapshot, centroid_scores: Float32Array, wanted: int, config: SearchConfig, workers: Workers
) -> list[tuple[SegmentView, NDArray[np.int64]]]:
    table = score_table(centroid_scores)
    is_probed = any(view.segment.lists is not None for view in snapshot.views)
    centroids = probed_centroids(centroid_scores, config.n_probe if is_probed else 0)
    rough = [approximate(view, table, centroids, wanted, workers) for view in snapshot.views]
    kept = keep_best(np.concatenate([scores for _, scores in rough]), wanted)
    chosen, first = [], 0
    for view, (positions, scores) in zip(snapshot.views, rough, strict=True):
        here = kept[(kept >= first) & (kept < first + len(scores))] - first
        chosen.append((view, positions[here]))
        first += len(scores)
    return chosen


def _live(view: SegmentView) -> NDArray[np.int64]:
    return np.arange(view.segment.record.n_documents) if view.alive is None else np.flatnonzero(view.alive)


def _score_plain(view: SegmentView, query: Float32Array, workers: Workers) -> tuple[NDArray[np.int64], Float32Array]:
    offsets, positions = view.segment.doc_offsets, _live(view)
    scores = np.empty(len(positions), np.float32)

    def score(part: slice) -> None:
        for run in _runs(positions, part):
            documents = slice(positions[run.start], positions[run.stop - 1] + 2)
            scores[run] = maxsim(query, view.segment.columns["vectors"], offsets[documents])

    workers.spread(score, offsets[positions], offsets[positions + 1], _TOKENS_PER_THREAD)
    return positions, scores


def _runs(positions: NDArray[np.int64], part: slice) -> Iterator[slice]:
    """Slices of a part in which every position follows the one before."""
    breaks = np.flatnonzero(np.diff(positions[part]) != 1) + 1
    for start, stop in pairwise([0, *breaks.tolist(), part.stop - part.start]):
        yield slice(part.start + start, part.start + stop)


def _score_compressed(
    view: SegmentView,
    codec: Codec,
    query: QuantisedQuery,
    centroid_scores: Float32Array,
    positions: NDArray[np.int64],
    slack: np.float32,
    workers: Workers,
) -> Float32Array:
    from colbert_rag.kernels import cpu

    starts, ends = view.segment.doc_offsets[positions], view.segment.doc_offsets[positions + 1]
    scores = np.empty(len(positions), np.float32)
    asked = (query.integers, query.scale, centroid_scores)
    tables = (codec.grid.byte_levels, codec.grid.scales, codec.grid.norms, slack)
    columns = view.segment.columns
    tokens = (columns["centroid_ids"], columns["codes"], columns["factors"])

    def score(part: slice) -> None:
        cpu.residual_scores(*asked, *tables, *tokens, starts[part], ends[part], scores[part])

    workers.spread(score, starts, ends, _TOKENS_PER_THREAD)
    return scores


def _best(found: Sequence[tuple[SegmentView, NDArray[np.int64], Float32Array]], k: int) -> Ranking:
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
