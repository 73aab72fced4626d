from __future__ import annotations

import json
from pathlib import Path

import pytest

QUERIES = {"q1": "notice period", "q2": "days of holiday", "unjudged": "laptop"}


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Path, Path]:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in QUERIES.items()))
    # the second judgement is wrong on purpose: half of the queries succeed
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\tnotice\t1\nq2\tnowhere\t1\n")
    return queries, qrels


def test_all_modes_are_measured_on_the_judged_queries(run, index_path: Path, judged):
    outcome = run("eval", index_path, *judged, "--model", "hash", "--json", "--metrics", "RR@10, R@3")
    assert outcome.code == 0
    report = outcome.json
    assert report["queries"] == 2
    assert [row["mode"] for row in report["rows"]] == ["maxsim", "bm25", "hybrid"]
    assert all(row["metrics"] == {"RR@10": 0.5, "R@3": 0.5} for row in report["rows"])
    assert all(row["median_ms"] > 0 for row in report["rows"])
    assert report["overlap@10"] == 1.0


def test_the_table_has_a_line_per_mode(run, index_path: Path, judged):
    outcome = run("eval", index_path, *judged, "--model", "hash")
    assert "2 judged queries" in outcome.out
    assert all(name in outcome.out for name in ("nDCG@10", "Success@5", "maxsim", "bm25", "hybrid", "ms/query"))
    assert "maxsim finds 100.0%" in outcome.out


@pytest.mark.parametrize("metrics", ["nGCD@10", " , "])
def test_unknown_metrics_are_wrong_usage(run, index_path: Path, judged, metrics: str):
    assert run("eval", index_path, *judged, "--model", "hash", "--metrics", metrics).code == 2


def test_judgements_of_unknown_queries_are_wrong_usage(run, index_path: Path, judged):
    judged[1].write_text("q1\tnotice\t1\nq9\tnotice\t1\n")
    outcome = run("eval", index_path, *judged, "--model", "hash")
    assert outcome.code == 2
    assert "'q9'" in outcome.err
