"""The order of a commit's documents for each query: by late interaction, by words, or by both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from colbert_rag.errors import CorruptIndexError
from colbert_rag.evidence import check_have_vectors, local_scores, token_vectors
from colbert_rag.search import (
    Ranker,
    Snapshot,
    Workers,
    diverse,
    narrowed,
    rank,
    reciprocal_rank_fusion,
    weighted_fusion,
)
from colbert_rag.storage import Reading
from colbert_rag.types import Float32Array, Mode, SearchConfig

__all__ = ["Question", "Scope", "Scored", "exact_scores", "rankings", "relevance_of"]

# each ranking goes into a fusion down to this place, at least
_FUSION_DEPTH = 100
# the share of MaxSim: by scores 0.7 was better than either half on both collections of docs/benchmarks.md
_SCORE_SHARE = 0.7
_RANK_SHARE = 0.5

Scored: TypeAlias = list[tuple[int, float]]
"""Keys and scores, best first."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query: its text, ``""`` where only vectors came, and its ``(Q, D) float32`` vectors, none for words alone."""

    text: str
    vectors: Float32Array


@dataclass(frozen=True, slots=True)
class Scope:
    """What is searched: the documents of one commit that a filter has left.

    Attributes:
        root: The index folder.
        reading: A transaction on the commit.
        snapshot: The vectors of those documents; called where they are needed.
        allowed: Keys of those documents, None for all.
        workers: Threads.
        ranker: What ranks the documents by their vectors.
    """

    root: Path
    reading: Reading
    snapshot: Callable[[], Snapshot]
    allowed: frozenset[int] | None
    workers: Workers
    ranker: Ranker


def rankings(scope: Scope, questions: Sequence[Question], k: int, mode: Mode, config: SearchConfig) -> list[Scored]:
    """The best ``k`` documents for each question; equal scores are ordered by id."""
    depth = max(k, config.fetch_k) if config.diversity or config.locality else k
    if mode == "bm25":
        found = [scope.reading.bm25(question.text, depth, scope.allowed) for question in questions]
    elif mode == "maxsim":
        found = _by_maxsim(scope, questions, depth, config)
        if config.locality:
            found = [_localised(scope, q, scored, config) for q, scored in zip(questions, found, strict=True)]
    else:
        found = _by_both(scope, questions, depth, config)
    if not config.diversity:
        return [scored[:k] for scored in found]
    return [_spread_out(scope, q, scored, k, mode, config) for q, scored in zip(questions, found, strict=True)]


def relevance_of(score: float, most: float) -> float:
    """A score on a scale of 0 to 1; the most that MaxSim can be is the number of query vectors."""
    return min(1.0, max(0.0, score / most)) if most > 0 else 0.0


def _by_maxsim(scope: Scope, questions: Sequence[Question], k: int, config: SearchConfig) -> list[Scored]:
    snapshot = scope.snapshot()
    ranked = scope.ranker.rank(snapshot, [question.vectors for question in questions], k, config, scope.workers)
    scores = [dict(zip(ranking.keys.tolist(), ranking.scores.tolist(), strict=True)) for ranking in ranked]
    ids = _ids(scope, {key for part in scores for key in part})
    return [_cut(part, ids, k) for part in scores]


def _localised(scope: Scope, question: Question, scored: Scored, config: SearchConfig) -> Scored:
    """The same documents, the long ones scored by their best place too."""
    mixed = dict(scored)
    best = local_scores(scope.snapshot(), list(mixed), question.vectors, scope.workers)
    mixed |= {key: (1 - config.locality) * mixed[key] + config.locality * local for key, local in best.items()}
    return _cut(mixed, _ids(scope, set(mixed)), len(mixed))


def _ids(scope: Scope, keys: set[int]) -> dict[int, str]:
    ids = scope.reading.ids_of(list(keys))
    if len(ids) < len(keys):
        what = "there are vectors of documents without a record"
        msg = f"{scope.root}: {what}. Run: colbert-rag verify {scope.root}"
        raise CorruptIndexError(msg)
    return ids


def _cut(scores: dict[int, float], ids: dict[int, str], k: int) -> Scored:
    return sorted(scores.items(), key=lambda item: (-item[1], ids[item[0]]))[:k]


def _by_both(scope: Scope, questions: Sequence[Question], k: int, config: SearchConfig) -> list[Scored]:
    depth, n_best = max(k, _FUSION_DEPTH), max(k, config.fetch_k)
    by_vectors = _by_maxsim(scope, questions, depth, config)
    by_words = [scope.reading.bm25(question.text, depth, scope.allowed) for question in questions]
    found = []
    for question, semantic, lexical in zip(questions, by_vectors, by_words, strict=True):
        if config.fusion == "rrf":
            share = _RANK_SHARE if config.maxsim_weight is None else config.maxsim_weight
            # doubled, so that even weights give the scores of the paper
            weights = (2 * share, 2 - 2 * share)
            near = semantic[:n_best]
            if config.locality:
                near = _localised(scope, question, near, config)
            parts = (near + semantic[n_best:], lexical)
            totals = reciprocal_rank_fusion([[key for key, _ in part] for part in parts], weights)
        else:
            share = _SCORE_SHARE if config.maxsim_weight is None else config.maxsim_weight
            totals = _weighted(scope, question, semantic, lexical, share, n_best, config)
        found.append(_cut(totals, _ids(scope, set(totals)), k))
    return found


def _weighted(
    scope: Scope,
    question: Question,
    semantic: Scored,
    lexical: Scored,
    weight: float,
    n_best: int,
    config: SearchConfig,
) -> dict[int, float]:
    """Every document of either ranking with both of its scores; with locality, the best of them only."""
    keys = {key for key, _ in semantic} | {key for key, _ in lexical}
    vectors = dict(semantic) | exact_scores(scope, question, keys - dict(semantic).keys())
    words = dict(scope.reading.bm25(question.text, len(keys), keys)) if keys else {}
    # a document without the words has a BM25 of 0; no MaxSim comes near the least that it could be
    totals = weighted_fusion((vectors, words), (weight, 1 - weight), (None, 0.0))
    if not config.locality:
        return totals
    best = [key for key, _ in _cut(totals, _ids(scope, set(totals)), n_best)]
    vectors |= dict(_localised(scope, question, [(key, vectors[key]) for key in best], config))
    totals = weighted_fusion((vectors, words), (weight, 1 - weight), (None, 0.0))
    return {key: totals[key] for key in best}


def exact_scores(scope: Scope, question: Question, keys: set[int]) -> dict[int, float]:
    """MaxSim of the documents of these keys."""
    if not keys:
        return {}
    chosen = narrowed(scope.snapshot(), np.array(sorted(keys), np.int64))
    ranking = rank(chosen, question.vectors, len(keys), SearchConfig(exact=True), scope.workers)
    check_have_vectors(keys, ranking.keys.tolist())
    return dict(zip(ranking.keys.tolist(), ranking.scores.tolist(), strict=True))


def _spread_out(scope: Scope, question: Question, scored: Scored, k: int, mode: Mode, config: SearchConfig) -> Scored:
    """The ``k`` of the ranked documents that say different things."""
    scale = len(question.vectors) if mode == "maxsim" else max([score for _, score in scored], default=1.0)
    vectors = token_vectors(scope.snapshot(), [key for key, _ in scored])
    relevance = [relevance_of(score, scale) for _, score in scored]
    chosen = diverse(relevance, [vectors[key] for key, _ in scored], k, config.diversity)
    return [scored[n] for n in chosen]
