from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_rag.errors import InvalidQueryError
from colbert_rag.evaluation import DEFAULT_METRICS, evaluate, evaluate_each, overlap, timed_run
from colbert_rag.types import Hit

DOCUMENTS = [f"d{n}" for n in range(12)]
RANKINGS = st.lists(st.sampled_from(DOCUMENTS), unique=True, max_size=12)
JUDGED = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1)


def reference(ids: list[str], judged: dict[str, int]) -> dict[str, float]:
    """Textbook definitions: linear gain, log2 discount."""
    gains = [judged.get(document_id, 0) for document_id in ids]
    dcg = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:10]))
    best = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(judged.values(), reverse=True)[:10]))
    relevant = {document_id for document_id, relevance in judged.items() if relevance > 0}
    first = next((rank for rank, document_id in enumerate(ids[:10]) if document_id in relevant), None)
    return {
        "nDCG@10": dcg / best if best else 0.0,
        "R@10": len(relevant & set(ids[:10])) / len(relevant) if relevant else 0.0,
        "R@100": len(relevant & set(ids)) / len(relevant) if relevant else 0.0,
        "RR@10": 0.0 if first is None else 1 / (first + 1),
        "Success@5": float(bool(relevant & set(ids[:5]))),
    }


@given(runs=st.lists(st.tuples(RANKINGS, JUDGED), min_size=1, max_size=3), score=st.floats(-5, 5))
def test_metrics_equal_their_definitions_whatever_the_ties(runs, score):
    run = {f"q{n}": [(document_id, score) for document_id in ids] for n, (ids, _) in enumerate(runs)}
    qrels = {f"q{n}": judged for n, (_, judged) in enumerate(runs)}
    expected = [reference(ids, judged) for ids, judged in runs]
    means = {name: sum(each[name] for each in expected) / len(expected) for name in DEFAULT_METRICS}
    assert evaluate(run, qrels) == pytest.approx(means)


def test_a_mapping_is_ranked_by_score():
    assert evaluate({"q": {"a": 1.0, "b": 3.0, "c": 2.0}}, {"q": {"c": 1}}, ["RR@10"]) == {"RR@10": 0.5}


def test_a_judged_query_without_results_counts_as_zero():
    qrels = {"answered": {"a": 1}, "empty": {"a": 1}, "absent": {"a": 1}}
    assert evaluate({"answered": [("a", 1.0)], "empty": []}, qrels, ["R@10"]) == pytest.approx({"R@10": 1 / 3})


def test_a_query_without_judgements_is_left_out():
    run = {"judged": [("a", 1.0)], "other": [("b", 1.0)]}
    assert evaluate(run, {"judged": {"a": 1}, "other": {}}, ["R@10"]) == {"R@10": 1.0}


@pytest.mark.parametrize("metric", ["nGCD@10", "nDCG@@10", "", "__import__('os')"])
def test_an_unknown_metric_is_refused(metric: str):
    with pytest.raises(InvalidQueryError, match="unknown metric"):
        evaluate({"q": [("a", 1.0)]}, {"q": {"a": 1}}, [metric])


@pytest.mark.parametrize("qrels", [{}, {"q": {}}])
def test_no_judgement_at_all_is_refused(qrels):
    with pytest.raises(InvalidQueryError, match="no query has a judgement"):
        evaluate({"q": [("a", 1.0)]}, qrels)


def test_a_document_ranked_twice_is_refused():
    with pytest.raises(InvalidQueryError, match="query 'q' names a document twice"):
        evaluate({"q": [("a", 2.0), ("a", 1.0)]}, {"q": {"a": 1}})


def test_overlap_is_the_share_of_the_references_first_k():
    reference_run = {"q": [("a", 3.0), ("b", 2.0), ("c", 1.0)], "r": [("a", 1.0)], "none": []}
    run = {"q": {"a": 1.0, "x": 2.0, "b": 0.5}, "r": []}
    assert overlap(run, reference_run, k=2) == (1 / 2 + 0) / 2
    assert overlap(run, reference_run, k=3) == (2 / 3 + 0) / 2
    assert overlap({}, {}) == 1.0


def test_a_timed_run_holds_every_ranking_and_the_median_time():
    pauses = {"fast": 0.0, "middle": 0.02, "slow": 0.2}

    def search(query: str) -> list[Hit]:
        time.sleep(pauses[query])
        return [Hit("b", 2.0, "", {}), Hit("a", 2.0, "", {})]

    run = timed_run(search, {query: query for query in pauses})
    assert run.rankings == {query: [("b", 2.0), ("a", 2.0)] for query in pauses}
    assert 20 <= run.median_ms < 200


@given(runs=st.lists(st.tuples(RANKINGS, JUDGED), min_size=1, max_size=3))
def test_the_values_of_each_query_equal_their_definitions(runs):
    run = {f"q{n}": [(document_id, 1.0) for document_id in ids] for n, (ids, _) in enumerate(runs)}
    qrels = {f"q{n}": judged for n, (_, judged) in enumerate(runs)}
    expected = {f"q{n}": reference(ids, judged) for n, (ids, judged) in enumerate(runs)}
    for name, values in evaluate_each(run, qrels).items():
        assert values == pytest.approx({query_id: each[name] for query_id, each in expected.items()})


def test_a_judged_query_that_the_run_lacks_has_the_value_zero_and_one_without_judgements_none():
    run = {"judged": [("a", 1.0)], "other": [("b", 1.0)]}
    assert evaluate_each(run, {"judged": {"a": 1}, "absent": {"a": 1}, "other": {}}, ["R@10"]) == {
        "R@10": {"judged": 1.0, "absent": 0.0}
    }
