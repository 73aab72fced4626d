from __future__ import annotations

from pathlib import Path

import pytest

from colbert_rag import Index
from colbert_rag.testing import HashEncoder


def ids(path: Path) -> list[str]:
    with Index.open(path, HashEncoder(), read_only=True) as index:
        return list(index.ids())


def test_documents_are_deleted_by_id_and_unknown_ids_named(run, index_path: Path):
    outcome = run("delete", index_path, "travel", "laptop", "travel", "trvl")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines() == [
        f"{index_path}: 2 documents deleted; 2 in the index",
        "not in the index: trvl",
    ]
    assert ids(index_path) == ["holiday", "notice"]
    hits = run("search", index_path, "travel by train", "--model", "hash", "--json").json
    assert sorted(hit["id"] for hit in hits) == ["holiday", "notice"]


def test_documents_are_deleted_by_filter(run, index_path: Path):
    outcome = run("delete", index_path, "--filter", '{"words": {"$lte": 8}}')
    assert "2 documents deleted; 2 in the index" in outcome.err
    assert ids(index_path) == ["holiday", "notice"]
    assert "2 documents deleted; 0 in the index" in run("delete", index_path, "--filter", "{}").err


@pytest.mark.parametrize(("given", "n"), [(["travel", "trvl"], 1), (["--filter", '{"words": {"$lte": 8}}'], 2)])
def test_a_dry_run_counts_and_deletes_nothing(run, index_path: Path, given: list[str], n: int):
    outcome = run("delete", index_path, *given, "--dry-run", "--json")
    assert outcome.code == 0
    assert (outcome.json["deleted"], outcome.json["documents"], outcome.json["dry_run"]) == (n, 4, True)
    assert "would be deleted; 4 in the index" in run("delete", index_path, *given, "--dry-run").err
    assert len(ids(index_path)) == 4
    assert run("delete", index_path, *given, "--json").json["deleted"] == n


def test_json_lists_every_unknown_id(run, index_path: Path):
    unknown = [f"x{n}" for n in range(7)]
    outcome = run("delete", index_path, *unknown)
    assert "and 2 more" in outcome.err
    outcome = run("delete", index_path, *unknown, "--json")
    assert outcome.json == {
        **{"path": str(index_path), "deleted": 0, "documents": 4, "dry_run": False},
        "unknown": unknown,
    }


@pytest.mark.parametrize("given", [[], ["travel", "--filter", "{}"], ["--filter", "null"]])
def test_ids_and_a_filter_exclude_one_another_and_one_is_needed(run, index_path: Path, given: list[str]):
    for more in ([], ["--dry-run"]):
        outcome = run("delete", index_path, *given, *more)
        assert outcome.code == 2
        assert "exactly one of them" in " ".join(outcome.err.replace("│", " ").split())
    assert len(ids(index_path)) == 4


@pytest.mark.parametrize("chosen", ["no JSON", '{"words": {"$near": 8}}', "7"])
def test_a_filter_that_is_none_deletes_nothing(run, index_path: Path, chosen: str):
    outcome = run("delete", index_path, "--filter", chosen)
    assert outcome.code == 1
    assert outcome.err.startswith("InvalidFilterError: ")
    assert len(ids(index_path)) == 4
