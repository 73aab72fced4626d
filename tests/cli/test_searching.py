from __future__ import annotations

import json
from pathlib import Path

import pytest

from colbert_rag.cli.text import MATCH_STYLE


def test_the_table_shows_rank_score_id_and_passage(run, index_path: Path):
    outcome = run("search", index_path, "notice period", "--model", "hash", "-k", "2")
    assert outcome.code == 0
    first = next(line for line in outcome.out.splitlines() if " notice " in line)
    assert first.split()[:3] == ["1", "2.00", "notice"]
    assert "notice period" in outcome.out


@pytest.mark.parametrize("mode", ["maxsim", "bm25", "hybrid"])
def test_every_mode_finds_the_document_with_the_words(run, index_path: Path, mode: str):
    hits = run("search", index_path, "thirty holiday", "--model", "hash", "--mode", mode, "--json", "-k", "3").json
    assert hits[0]["id"] == "holiday"
    assert hits[0]["metadata"] == {"words": 9}


def test_json_passages_point_into_the_text(run, index_path: Path):
    [hit] = run("search", index_path, "three months", "--model", "hash", "--json", "-k", "1").json
    [passage] = hit["passages"]
    assert hit["text"][passage["start"] : passage["end"]] == passage["text"]
    assert [hit["text"][start:end] for start, end in passage["matches"]] in (["three months"], ["three", "months"])


def test_matched_words_are_marked_on_a_terminal(run, index_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert MATCH_STYLE == "bold green"
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = run("search", index_path, "laptop", "--model", "hash", "-k", "1")
    assert "\x1b[1;32mlaptop\x1b[0m" in outcome.out


def test_full_shows_the_whole_document(run, tmp_path: Path):
    text = " ".join(f"word{n}." for n in range(400)) + " needle " + " ".join(f"other{n}." for n in range(400))
    (tmp_path / "long.txt").write_text(text)
    path = tmp_path / "long.index"
    run("index", tmp_path / "long.txt", "--into", path, "--model", "hash")
    short = run("search", path, "needle", "--model", "hash").out
    full = run("search", path, "needle", "--model", "hash", "--full").out
    assert "needle" in short
    assert "word0." not in short
    assert all(word in full for word in ("word0.", "needle", "other399."))


def test_text_of_documents_cannot_steer_the_terminal(run, tmp_path: Path):
    hostile = "\x1b]0;owned\x07[bold red]needle[/bold red] \x9b2J :smile: [link=http://x]y[/link]"
    path = tmp_path / "hostile.jsonl"
    path.write_text(json.dumps({"id": "[blink]id", "text": hostile}) + "\n")
    run("index", path, "--into", tmp_path / "hostile.index", "--model", "hash")
    for options in ([], ["--full"], ["--json"]):
        outcome = run("search", tmp_path / "hostile.index", "needle", "--model", "hash", *options)
        assert outcome.code == 0
        assert not set(outcome.out) & set("\x1b\x07\x9b")
        assert "[bold red]needle[/bold red]" in " ".join(outcome.out.split())
        assert "[blink]id" in outcome.out


def test_no_match_is_said_and_is_no_error(run, index_path: Path):
    outcome = run("search", index_path, "zebra", "--model", "hash", "--mode", "bm25")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no document matches\n")
    assert run("search", index_path, "zebra", "--model", "hash", "--mode", "bm25", "--json").json == []


def test_a_blank_question_is_refused(run, index_path: Path):
    outcome = run("search", index_path, "  ", "--model", "hash")
    assert outcome.code == 1
    assert outcome.err.startswith("InvalidQueryError: ")


@pytest.mark.parametrize("mode", ["maxsim", "bm25", "hybrid"])
def test_a_filter_leaves_the_documents_that_fit(run, index_path: Path, mode: str):
    chosen = '{"words": {"$lt": 9}}'
    hits = run("search", index_path, "a laptop", "--model", "hash", "--mode", mode, "--filter", chosen, "--json").json
    assert hits
    assert {hit["metadata"]["words"] for hit in hits} <= {7, 8}


@pytest.mark.parametrize("chosen", ["{", "3", '{"words": {"$above": 3}}'])
def test_a_wrong_filter_is_refused_with_words(run, index_path: Path, chosen: str):
    outcome = run("search", index_path, "laptop", "--model", "hash", "--filter", chosen)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("InvalidFilterError: ")


def test_passages_shows_the_best_sentences_one_below_the_other(run, tmp_path: Path):
    text = "A laptop is grey. " + "Nothing here. " * 40 + "The laptop is replaced. " + "Nothing there. " * 40
    (tmp_path / "long.txt").write_text(text)
    run("index", tmp_path / "long.txt", "--into", tmp_path / "long.index", "--model", "hash")
    arguments = ("search", tmp_path / "long.index", "laptop replaced", "--model", "hash")
    one, two = run(*arguments).out, run(*arguments, "--passages", "2").out
    assert ("is replaced." in one, "is grey." in one) == (True, False)
    assert two.index("is replaced.") < two.index("is grey.")
    [hit] = run(*arguments, "--passages", "2", "--json").json
    assert [passage["text"] for passage in hit["passages"]] == ["The laptop is replaced.", "A laptop is grey."]


def test_locality_ranks_what_stands_together_above_what_is_scattered(run, tmp_path: Path):
    filler = "filler " * 600
    texts = {"a-scattered": f"notice {filler} period", "b-near": f"notice period {filler} end"}
    (tmp_path / "long.jsonl").write_text(
        "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items())
    )
    run("index", tmp_path / "long.jsonl", "--into", tmp_path / "long.index", "--model", "hash")
    arguments = ("search", tmp_path / "long.index", "notice period", "--model", "hash", "--json")
    assert len({round(hit["score"], 2) for hit in run(*arguments).json}) == 1
    near, scattered = run(*arguments, "--locality", "1").json
    assert (near["id"], scattered["id"]) == ("b-near", "a-scattered")
    assert scattered["score"] < near["score"] - 0.5
    assert run(*arguments, "--locality", "-0.1").code == 2
