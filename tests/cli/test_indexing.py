from __future__ import annotations

import json
from pathlib import Path

import pytest

from colbert_rag import Index
from colbert_rag.testing import HashEncoder


def test_the_outcome_counts_documents(run, corpus: Path, tmp_path: Path):
    outcome = run("index", corpus, "--into", tmp_path / "a.index", "--model", "hash", "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    assert {**outcome.json, "seconds": 0} == {
        "path": str(tmp_path / "a.index"),
        "added": 4,
        "removed": 0,
        "documents": 4,
        "seconds": 0,
        "skipped": [],
    }


def test_records_are_stored_with_their_metadata(index_path: Path):
    with Index.open(index_path, HashEncoder(), read_only=True) as index:
        document = index.get("travel")
    assert document is not None
    assert document.text == "Travel by train is booked through the office."
    assert document.metadata == {"words": 8}


def test_files_are_added_to_an_index_that_is_there(run, index_path: Path, tmp_path: Path):
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "lunch.txt").write_text("Lunch is at noon.")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    outcome = run("index", folder, "--into", index_path, "--model", "hash")
    assert outcome.code == 0
    assert outcome.out == ""
    assert "1 document written" in outcome.err
    assert "5 in the index" in outcome.err
    assert "photo.png: unknown file type (.png)" in outcome.err


def test_many_skipped_files_are_counted_and_listed_in_json(run, tmp_path: Path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.txt").write_text("Some text.")
    for n in range(7):
        (folder / f"{n}.png").write_bytes(b"")
    outcome = run("index", folder, "--into", tmp_path / "a.index", "--model", "hash")
    assert "left out: 7 files" in outcome.err
    assert "and 2 more" in outcome.err
    outcome = run("index", folder, "--into", tmp_path / "b.index", "--model", "hash", "--json")
    assert len(outcome.json["skipped"]) == 7


def test_files_that_cannot_be_read_are_named_and_the_others_indexed(run, tmp_path: Path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.txt").write_text("Some text.")
    (folder / "broken.pdf").write_bytes(b"no PDF at all")
    (folder / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    for n in range(7):
        (folder / f"{n}.png").write_bytes(b"")
    outcome = run("index", folder, "--into", tmp_path / "a.index", "--model", "hash")
    assert outcome.code == 0
    assert "1 document written" in outcome.err
    assert "left out: 9 files" in outcome.err
    assert "and 2 more" in outcome.err
    assert f"{folder.as_posix()}/broken.pdf: cannot be read as PDF (" in outcome.err
    assert f"{folder.as_posix()}/latin.txt: expected UTF-8, found byte 0xfc" in outcome.err


def test_a_folder_of_which_nothing_can_be_indexed_ends_with_1(run, tmp_path: Path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "latin.txt").write_bytes(b"\xff")
    outcome = run("index", folder, "--into", tmp_path / "a.index", "--model", "hash")
    assert outcome.code == 1
    assert "latin.txt: expected UTF-8" in outcome.err
    assert "none of these files could be indexed" in outcome.err
    outcome = run("index", folder, "--into", tmp_path / "a.index", "--model", "hash", "--json")
    assert (outcome.code, len(outcome.json["skipped"])) == (1, 1)


def test_a_run_that_finds_nothing_new_ends_with_0(run, tmp_path: Path):
    (tmp_path / "empty.jsonl").write_text("")
    assert run("index", tmp_path / "empty.jsonl", "--into", tmp_path / "a.index", "--model", "hash").code == 0
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.txt").write_text("Some text.")
    (folder / "0.png").write_bytes(b"")
    for _ in range(2):
        outcome = run("index", folder, "--into", tmp_path / "a.index", "--model", "hash", "--upsert")
        assert outcome.code == 0
    assert "0 documents written" in outcome.err


def test_an_index_below_the_home_is_named_by_a_tilde(run, corpus: Path, tmp_path: Path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "ann"))
    monkeypatch.chdir(tmp_path)
    assert run("index", corpus, "--into", "~/a.index", "--model", "hash").code == 0
    assert run("info", "~/a.index", "--json").json["n_documents"] == 4
    assert (tmp_path / "ann" / "a.index").is_dir()
    assert not (tmp_path / "~").exists()


def test_a_duplicate_is_refused_with_a_word_on_upsert(run, index_path: Path, corpus: Path):
    outcome = run("index", corpus, "--into", index_path, "--model", "hash")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("DuplicateIdError: ")
    assert "--upsert" in outcome.err


def test_upsert_replaces(run, index_path: Path, corpus: Path):
    corpus.write_text(json.dumps({"id": "travel", "text": "Travel by bicycle."}) + "\n")
    outcome = run("index", corpus, "--into", index_path, "--model", "hash", "--upsert", "--json")
    assert (outcome.json["added"], outcome.json["documents"]) == (1, 4)
    hits = run("search", index_path, "bicycle", "--model", "hash", "--json").json
    assert (hits[0]["id"], hits[0]["text"]) == ("travel", "Travel by bicycle.")


def test_a_wrong_file_leaves_nothing_behind_of_its_batch(run, corpus: Path, tmp_path: Path):
    corpus.write_text(corpus.read_text() + "broken\n")
    outcome = run("index", corpus, "--into", tmp_path / "a.index", "--model", "hash")
    assert outcome.code == 1
    assert f"CorpusFormatError: {corpus}:5: expected one JSON object a line: " in outcome.err
    assert "the index holds 0 documents; put the file right or move it away, and run the command again" in outcome.err
    assert run("info", tmp_path / "a.index", "--json").json["n_documents"] == 0


@pytest.mark.parametrize(("option", "value", "found"), [("--bits", 2, 4), ("--pool-factor", 2, 1)])
def test_other_settings_than_the_indexs_are_wrong_usage(run, index_path: Path, corpus: Path, option, value, found):
    outcome = run("index", corpus, "--into", index_path, "--model", "hash", option, value)
    assert outcome.code == 2
    # the message is wrapped inside a box, where depends on the length of the path
    assert f"has {option} {found}; leave it out" in " ".join(outcome.err.replace("│", " ").split())


def test_the_settings_that_an_index_has_may_be_named_again(run, index_path: Path, corpus: Path):
    given = ["--model", "hash", "--bits", "4", "--pool-factor", "1", "--upsert"]
    assert run("index", corpus, "--into", index_path, *given).code == 0


def test_a_new_index_is_pooled_by_the_factor_asked_for(run, corpus: Path, tmp_path: Path):
    path = tmp_path / "a.index"
    assert run("index", corpus, "--into", path, "--model", "hash", "--pool-factor", "2").code == 0
    report = run("info", path, "--json").json
    # the documents have 11, 9, 8 and 7 words
    assert (report["pool_factor"], report["n_tokens"]) == (2, 6 + 5 + 4 + 4)
    assert "1 vector of 2 tokens" in run("info", path).out


def test_a_factor_out_of_range_creates_nothing(run, corpus: Path, tmp_path: Path):
    outcome = run("index", corpus, "--into", tmp_path / "a.index", "--model", "hash", "--pool-factor", "5")
    assert outcome.code == 1
    assert "InvalidQueryError: pool_factor must be an int from 1 (no pooling) to 4, found 5." in outcome.err
    assert not (tmp_path / "a.index").exists()


def test_an_interrupt_says_what_is_committed(run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encode = HashEncoder.encode_documents
    calls = []

    def interrupted(self, texts, *, progress=None):
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, texts, progress=progress)

    monkeypatch.setattr(HashEncoder, "encode_documents", interrupted)
    monkeypatch.setattr("colbert_rag.cli.indexing.COMMIT_EVERY", 1)
    outcome = run("index", corpus, "--into", tmp_path / "a.index", "--model", "hash")
    assert outcome.code == 130
    assert "interrupted; the index holds 2 documents" in outcome.err
    assert "--upsert" in outcome.err
    assert run("info", tmp_path / "a.index", "--json").json["n_documents"] == 2
