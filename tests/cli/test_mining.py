from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from colbert_rag.testing import HashEncoder
from colbert_rag.training import rescoring
from colbert_rag.training.example_files import read_examples

PAIRS = [
    {
        "query": "how long is notice",
        "positive": "The notice period is three months to the end of a quarter.",
    },
    {"query": "when is a laptop replaced", "positive": "A laptop is replaced after four years."},
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "examples.jsonl"


@pytest.fixture
def mine(run, pairs: Path, output: Path):
    return lambda *options: run("mine", pairs, "--model", "hash", "--output", output, *options)


def test_examples_with_negatives_of_the_corpus_are_written(mine, corpus: Path, output: Path):
    outcome = mine("--corpus", corpus, "--negatives", 2)
    assert (outcome.code, outcome.out) == (0, "")
    assert "2 examples of 2 pairs" in outcome.err
    texts = {json.loads(line)["text"] for line in corpus.read_text().splitlines()}
    for pair, example in zip(PAIRS, read_examples(output), strict=True):
        assert (example.query, example.documents[0], example.scores) == (pair["query"], pair["positive"], None)
        assert len(example.documents) == 3
        assert set(example.documents[1:]) < texts - {pair["positive"]}


def test_without_a_corpus_negatives_are_the_positives_of_other_pairs(mine, output: Path):
    assert mine("--negatives", 1, "--quiet").err == ""
    assert [example.documents[1] for example in read_examples(output)] == [PAIRS[1]["positive"], PAIRS[0]["positive"]]


def test_a_teacher_scores_every_document(mine, corpus: Path, output: Path, monkeypatch: pytest.MonkeyPatch):
    class Length:
        def score(self, query, documents):
            return np.array([len(document) for document in documents], np.float32)

    monkeypatch.setattr(rescoring, "load_teacher", lambda name: {"length": Length()}[name])
    assert mine("--corpus", corpus, "--negatives", 2, "--teacher", "length").code == 0
    assert all(example.scores == tuple(map(len, example.documents)) for example in read_examples(output))


def test_equal_seeds_write_equal_files(mine, corpus: Path, output: Path):
    mine("--corpus", corpus, "--negatives", 2, "--seed", 3)
    first = output.read_bytes()
    mine("--corpus", corpus, "--negatives", 2, "--seed", 3, "--force")
    assert output.read_bytes() == first


def test_examples_with_too_few_negatives_are_counted_and_left_out_unless_they_are_kept(mine, corpus, pairs, output):
    # two of four documents have more words of this query than its positive
    with pairs.open("a") as file:
        file.write('{"query": "travel by train, notice period", "positive": "Nobody knows."}\n')
    outcome = mine("--corpus", corpus, "--negatives", 3, "--json")
    assert outcome.json == {"path": str(output), "pairs": 3, "examples": 2, "short": 1, "skipped": []}
    kept = mine("--corpus", corpus, "--negatives", 3, "--keep-short", "--force")
    assert "kept: 1 example with fewer than 3 negatives among the first 100" in kept.err
    assert [len(example.documents) == 4 for example in read_examples(output)] == [True, True, False]
    assert "left out: 1 example with fewer" in mine("--corpus", corpus, "--negatives", 3, "--force").err
    mine("--corpus", corpus, "--negatives", 3, "--any-score", "--force")
    assert len(read_examples(output)) == 3


def test_when_no_pair_has_its_negatives_nothing_is_written(mine, output: Path):
    outcome = mine("--negatives", 5)
    assert outcome.code == 1
    assert "no pair has 5 negatives among the first 100" in outcome.err
    assert not output.exists()


def test_a_file_that_is_there_is_not_written_over_unless_forced(mine, output: Path):
    output.write_text("old")
    outcome = mine("--negatives", 1)
    assert (outcome.code, output.read_text()) == (2, "old")
    assert "--force" in outcome.err
    assert mine("--negatives", 1, "--force").code == 0
    assert len(read_examples(output)) == 2


def test_options_that_do_not_go_together_are_refused_before_anything_is_read(mine, pairs, output, monkeypatch):
    monkeypatch.setattr(rescoring, "load_teacher", lambda name: pytest.fail("the teacher was loaded"))
    pairs.write_text("no pairs")
    outcome = mine("--negatives", 5, "--depth", 4, "--teacher", "judge")
    assert outcome.code == 1
    assert "found n_negatives=5 and depth=4" in outcome.err
    assert not output.exists()


def test_an_output_in_no_folder_is_wrong_usage(run, pairs: Path, tmp_path: Path):
    outcome = run("mine", pairs, "--model", "hash", "--output", tmp_path / "missing" / "examples.jsonl")
    assert outcome.code == 2
    said = " ".join(outcome.err.replace("│", " ").split())
    assert "is no file in a folder that is there; name a file in one that is" in said
    assert "html" not in said


def test_an_output_of_another_kind_is_wrong_usage(run, pairs: Path, tmp_path: Path):
    outcome = run("mine", pairs, "--model", "hash", "--output", tmp_path / "examples.json")
    assert outcome.code == 2
    assert ".jsonl" in outcome.err


@pytest.mark.parametrize(
    ("line", "said"), [("{}", "pairs.jsonl:3: "), ("no JSON", "pairs.jsonl:3: expected one JSON object")]
)
def test_a_line_that_is_no_pair_is_named_and_nothing_is_written(mine, pairs: Path, output: Path, line: str, said: str):
    with pairs.open("a") as file:
        file.write(line + "\n")
    outcome = mine("--negatives", 1)
    assert outcome.code == 1
    assert said in outcome.err.replace("\n", "")
    assert not output.exists()


def test_an_id_that_occurs_twice_in_the_corpus_is_refused(mine, corpus: Path, output: Path):
    outcome = mine("--corpus", corpus, "--corpus", corpus, "--negatives", 1)
    assert outcome.code == 1
    assert "'notice' occurs twice" in outcome.err
    assert not output.exists()


def test_files_of_a_folder_that_give_no_document_are_named(mine, tmp_path: Path):
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "train.txt").write_text("Travel by train is booked through the office.")
    (folder / "photo.png").write_bytes(b"")
    assert "unknown file type (.png)" in mine("--corpus", folder, "--negatives", 1).err


def test_an_interrupt_writes_nothing(mine, output: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(HashEncoder, "encode_queries", interrupt)
    assert mine("--negatives", 1).code == 130
    assert not output.exists()
