from __future__ import annotations

import json
from pathlib import Path

import pytest

from colbert_rag import TokenLabel
from colbert_rag.cli.explaining import explain_hits
from colbert_rag.testing import HashEncoder


@pytest.fixture(autouse=True)
def labelled(monkeypatch: pytest.MonkeyPatch):
    """Queries whose tokens say what they are."""

    def query_tokens(self, text):
        return [TokenLabel(word, text.index(word), text.index(word) + len(word)) for word in text.split()]

    monkeypatch.setattr(HashEncoder, "query_tokens", query_tokens, raising=False)


def rows_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if line.split()[:1] and line.split()[0].isdigit()]


def test_the_table_shows_what_each_token_matched_and_where(run, index_path: Path):
    outcome = run("explain", index_path, "notice period", "--model", "hash", "-k", "1")
    assert (outcome.code, outcome.err) == (0, "")
    assert rows_of(outcome.out) == [
        ["1", "notice", "2.00"],
        ["1", "notice", "1.00", "notice", "4"],
        ["2", "period", "1.00", "period", "11"],
    ]
    assert outcome.out.split()[-2:] == ["MaxSim", "2.00"]


def test_options_choose_the_documents_as_in_a_search(run, index_path: Path):
    chosen = '{"words": {"$lt": 9}}'
    options = ("--model", "hash", "--mode", "hybrid", "--filter", chosen, "-k", "2")
    hits = run("search", index_path, "a laptop", "--json", *options).json
    out = run("explain", index_path, "a laptop", *options).out
    assert [row[1:] for row in rows_of(out) if len(row) == 3] == [[h["id"], f"{h['score']:.2f}"] for h in hits]


def test_output_is_one_html_file(run, index_path: Path, tmp_path: Path):
    path = tmp_path / "report.html"
    outcome = run("explain", index_path, "notice period", "--model", "hash", "--output", path)
    assert (outcome.code, outcome.out) == (0, "")
    assert " ".join(outcome.err.split()) == f"{path}: 3 documents explained"
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert '<mark id="d1-m0"' in page
    assert page.count("<article") == 3


def test_a_file_that_is_there_is_written_over_only_by_force(run, index_path: Path, tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    arguments = ("explain", index_path, "notice", "--model", "hash", "-o", path)
    outcome = run(*arguments)
    assert outcome.code == 2
    assert "--force" in outcome.err
    assert path.read_text() == "mine"
    assert run(*arguments, "--force").code == 0
    assert "<article" in path.read_text(encoding="utf-8")


def test_a_file_that_appears_meanwhile_is_not_written_over(run, index_path: Path, tmp_path: Path, monkeypatch):
    path = tmp_path / "report.html"
    monkeypatch.setattr(
        "colbert_rag.cli.explaining.check_output", lambda output, is_forced: output.write_text("theirs")
    )
    outcome = run("explain", index_path, "notice", "--model", "hash", "-o", path)
    assert outcome.code == 1
    assert outcome.err.startswith("StorageError: ")
    assert path.read_text() == "theirs"


@pytest.mark.parametrize("name", ["", "missing/report.html"])
def test_an_output_that_can_be_no_file_is_refused_before_anything_is_read(run, tmp_path: Path, name: str):
    outcome = run("explain", tmp_path / "no.index", "notice", "--model", "hash", "--output", tmp_path / name)
    assert outcome.code == 2
    assert "is no file in a folder that is there" in " ".join(outcome.err.replace("│", " ").split())


def test_text_of_documents_cannot_steer_the_terminal(run, tmp_path: Path):
    path = tmp_path / "hostile.jsonl"
    path.write_text(json.dumps({"id": "[blink]id", "text": "\x1b[2Jneedle\x9b2J"}) + "\n")
    run("index", path, "--into", tmp_path / "hostile.index", "--model", "hash")
    outcome = run("explain", tmp_path / "hostile.index", "needle \x1b]0;", "--model", "hash")
    assert outcome.code == 0
    assert "[blink]id" in outcome.out
    assert not set(outcome.out) & set("\x1b\x9b")


def test_no_match_is_said_and_makes_no_report(run, index_path: Path, tmp_path: Path):
    arguments = ("explain", index_path, "zebra", "--model", "hash", "--mode", "bm25")
    path = tmp_path / "report.html"
    for more in ((), ("-o", path)):
        outcome = run(*arguments, *more)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "no document matches\n")
    assert not path.exists()


def test_locality_moves_the_score_and_the_report_says_so(run, tmp_path: Path):
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"id": "long", "text": f"notice {'filler ' * 600} period"}) + "\n")
    run("index", path, "--into", tmp_path / "long.index", "--model", "hash")
    arguments = ("explain", tmp_path / "long.index", "notice period", "--model", "hash")
    [whole, local] = [rows_of(run(*arguments, *more).out)[0] for more in ((), ("--locality", "0.5"))]
    assert whole[2] == "2.00"
    assert float(local[2]) < 1.9
    assert run(*arguments, "--locality", "0.5", "-o", tmp_path / "report.html").code == 0
    assert "locality 0.5" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert run(*arguments, "--locality", "1.5").code == 2


def test_the_help_names_the_options(run):
    out = run("explain", "--help").out
    assert explain_hits.__doc__ is not None
    assert all(option in out for option in ("--output", "--force", "--filter", "--mode", "--passages", "--locality"))
