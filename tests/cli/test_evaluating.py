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


@pytest.fixture
def other_index(run, corpus: Path, tmp_path: Path) -> Path:
    """The same documents but one."""
    path, lines = tmp_path / "other.index", corpus.read_text().splitlines(keepends=True)
    (tmp_path / "part.jsonl").write_text("".join(line for line in lines if '"holiday"' not in line))
    assert run("index", tmp_path / "part.jsonl", "--into", path, "--model", "hash", "--quiet").code == 0
    return path


@pytest.fixture
def both_right(judged: tuple[Path, Path]) -> tuple[Path, Path]:
    judged[1].write_text("q1\tnotice\t1\nq2\tholiday\t1\n")
    return judged


def test_several_indexes_stand_side_by_side_and_are_compared_with_the_first(run, index_path, other_index, both_right):
    command = ["eval", index_path, *both_right, "--against", other_index, "--model", "hash", "--metrics", "RR@10 R@3"]
    report = run(*command, "--json").json
    indexes, modes = [str(index_path)] * 3 + [str(other_index)] * 3, ["maxsim", "bm25", "hybrid"] * 2
    assert [(row["index"], row["mode"]) for row in report["rows"]] == list(zip(indexes, modes, strict=True))
    assert [row["metrics"]["RR@10"] for row in report["rows"]] == [1.0] * 3 + [0.5] * 3
    assert report["rows"][0]["to_first"] is None
    assert [row["to_first"]["mean"] for row in report["rows"][1:]] == [0.0, 0.0] + [-0.5] * 3
    assert report["rows"][1]["to_first"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "n_queries": 2}
    last = report["rows"][3]["to_first"]
    # of two queries one differs: its sign alone is flipped
    assert (last["low"], last["high"], last["p"]) == (-1.0, 0.0, 1.0)
    assert report["compared_by"] == "RR@10"
    assert [(each["index"], each["documents"], each["overlap@10"]) for each in report["indexes"]] == [
        (str(index_path), 4, 1.0),
        (str(other_index), 3, 1.0),
    ]


def test_the_table_names_the_index_of_each_row_and_its_difference_to_the_first(
    run, index_path: Path, other_index: Path, both_right, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "200")
    outcome = run("eval", index_path, *both_right, "--against", other_index, "--model", "hash", "--metrics", "RR@10")
    first, second = outcome.out.split("RR@10, less that of the first row")
    assert (first.count("other.index"), second.count("other.index")) == (3, 3 + 1)
    assert (first.count("handbook.index"), second.count("handbook.index")) == (3, 2 + 1)
    assert second.count("-0.5000") == 3
    assert second.count("-1.0000 to +0.0000") == 3
    assert "search of other.index, which holds 3 documents" in outcome.out


def test_one_judged_query_is_measured_and_not_compared(run, index_path: Path, judged):
    judged[1].write_text("q1\tnotice\t1\n")
    rows = run("eval", index_path, *judged, "--model", "hash", "--json").json["rows"]
    assert [row["to_first"] for row in rows] == [None, None, None]
    assert "less that of" not in run("eval", index_path, *judged, "--model", "hash").out


def test_models_are_given_once_or_for_each_index(run, index_path: Path, other_index: Path, judged):
    command = ["eval", index_path, *judged, "--against", other_index]
    assert run(*command, "--model", "hash", "--model", "hash", "--json").code == 0
    outcome = run(*command, *["--model", "hash"] * 3)
    assert outcome.code == 2
    assert "given 3 times" in outcome.err
