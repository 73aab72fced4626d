"""How good a ranking is, by the field's measures, and how long it took."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from colbert_rag.errors import InvalidQueryError, MissingDependencyError
from colbert_rag.types import Hit, Progress

if TYPE_CHECKING:
    from ir_measures.measures import Measure

__all__ = [
    "DEFAULT_METRICS",
    "Ranking",
    "TimedRun",
    "check_metrics",
    "evaluate",
    "evaluate_each",
    "overlap",
    "timed_run",
]

Ranking: TypeAlias = Sequence[tuple[str, float]] | Mapping[str, float]
"""Documents of one query with scores: in rank order, or as a mapping, which is ranked by score."""

Query = TypeVar("Query")

DEFAULT_METRICS = ("nDCG@10", "R@10", "R@100", "RR@10", "Success@5")


@dataclass(frozen=True, slots=True)
class TimedRun:
    """What a search found for each query, and how long a query took.

    Attributes:
        rankings: Query id -> ``(document id, score)`` pairs in rank order.
        median_ms: Median milliseconds per query.
    """

    rankings: dict[str, list[tuple[str, float]]]
    median_ms: float


def evaluate(
    run: Mapping[str, Ranking],
    qrels: Mapping[str, Mapping[str, int]],
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, float]:
    """Average retrieval metrics over the judged queries, computed by ir-measures (trec_eval underneath).

    The order of a sequence stands: documents of equal score are not reordered, as trec_eval itself would do by id.
    A judged query that the run lacks counts as 0; a query without judgements is left out.

    Args:
        run: Query id -> ranked documents.
        qrels: Query id -> document id -> relevance, 1 or more for relevant.
        metrics: Names as ir-measures knows them, such as ``"nDCG@10"``, ``"R@100"``, ``"AP"``.

    Returns:
        Metric name, as it was given -> mean over queries, 0 to 1.

    Raises:
        InvalidQueryError: a metric is unknown, there is no judgement, or a ranking names a document twice.

    Example:
        >>> evaluate({"q": [("b", 2.0), ("a", 1.5)]}, {"q": {"a": 1}}, ["RR@10", "R@10"])
        {'RR@10': 0.5, 'R@10': 1.0}
    """
    measures = check_metrics(metrics)
    means = _require_ir_measures().calc_aggregate(list(measures.values()), *_judged_and_ranked(run, qrels))
    return {name: float(means[measure]) for name, measure in measures.items()}


def evaluate_each(
    run: Mapping[str, Ranking],
    qrels: Mapping[str, Mapping[str, int]],
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, dict[str, float]]:
    """Like ``evaluate``, but the value of every judged query, for a paired test.

    Returns:
        Metric name, as it was given -> query id -> value.

    Example:
        >>> run = {"q": [("b", 2.0), ("a", 1.5)]}
        >>> evaluate_each(run, {"q": {"a": 1}, "r": {"b": 1}}, ["RR@10"])
        {'RR@10': {'q': 0.5, 'r': 0.0}}
    """
    measures = check_metrics(metrics)
    judged, ranked = _judged_and_ranked(run, qrels)
    values = {measure: dict.fromkeys(judged, 0.0) for measure in measures.values()}
    for each in _require_ir_measures().iter_calc(list(measures.values()), judged, ranked):
        values[each.measure][each.query_id] = float(each.value)
    return {name: values[measure] for name, measure in measures.items()}


def _judged_and_ranked(
    run: Mapping[str, Ranking], qrels: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    judged = {query_id: dict(documents) for query_id, documents in qrels.items() if documents}
    if not judged:
        raise InvalidQueryError("there is nothing to evaluate: no query has a judgement")
    return judged, {query_id: _scores_by_rank(query_id, ranking) for query_id, ranking in run.items()}


def check_metrics(names: Sequence[str]) -> dict[str, Measure]:
    """Look up metrics by name.

    Raises:
        InvalidQueryError: a name is not known.
    """
    ir_measures = _require_ir_measures()
    measures = {}
    for name in names:
        try:
            measures[name] = ir_measures.parse_measure(name)
        except (NameError, ValueError) as error:
            known = ", ".join(DEFAULT_METRICS)
            raise InvalidQueryError(f"unknown metric {name!r}; expected names such as {known}, AP or P@5") from error
    return measures


def _require_ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        message = "ir-measures is not installed. Install the extra: pip install 'late-interaction-rag[eval]'"
        raise MissingDependencyError(message) from error
    return ir_measures


def timed_run(
    search: Callable[[Query], Sequence[Hit]],
    queries: Mapping[str, Query],
    stage: str = "search",
    progress: Progress | None = None,
) -> TimedRun:
    """Search every query by itself, one after the other, and take the time of each.

    Args:
        search: Query, as a text or as vectors -> hits, best first.
        queries: Query id -> query.
        stage: What the progress is called.
        progress: Called after each query.
    """
    rankings, seconds = {}, []
    for done, (query_id, query) in enumerate(queries.items(), 1):
        start = time.perf_counter()
        hits = search(query)
        seconds.append(time.perf_counter() - start)
        rankings[query_id] = [(hit.id, hit.score) for hit in hits]
        if progress:
            progress(stage, done, len(queries))
    return TimedRun(rankings, 1000 * statistics.median(seconds) if seconds else math.nan)


def overlap(run: Mapping[str, Ranking], reference: Mapping[str, Ranking], k: int = 10) -> float:
    """Return the share of the reference's first ``k`` documents that are among the run's first ``k``.

    Mean over the queries for which the reference holds a document; 1.0 where there is none.
    """
    shares = []
    for query_id, ranking in reference.items():
        if expected := set(_ranked_ids(ranking)[:k]):
            found = set(_ranked_ids(run.get(query_id, []))[:k])
            shares.append(len(expected & found) / len(expected))
    return statistics.fmean(shares) if shares else 1.0


def _ranked_ids(ranking: Ranking) -> list[str]:
    if isinstance(ranking, Mapping):
        return sorted(ranking, key=lambda document_id: -ranking[document_id])
    return [document_id for document_id, _ in ranking]


def _scores_by_rank(query_id: str, ranking: Ranking) -> dict[str, float]:
    # trec_eval orders equal scores by document id, so each rank gets a score of its own
    ids = _ranked_ids(ranking)
    scores = {document_id: -float(rank) for rank, document_id in enumerate(ids)}
    if len(scores) < len(ids):
        raise InvalidQueryError(f"the ranking of query {query_id!r} names a document twice")
    return scores
