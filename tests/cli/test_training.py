from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models

from colbert_rag.training import dependencies, rounds
from colbert_rag.training.pairs import Pair
from colbert_rag.training.record import FinishedRound, Record
from colbert_rag.training.settings import TrainingSettings


@pytest.fixture
def pairs_file(tmp_path) -> Path:
    path = tmp_path / "pairs.jsonl"
    words = [a + b for a in ("ba", "ce", "di", "fo") for b in ("gu", "ha", "je", "ki", "lo")]
    rows = ({"query": word, "positive": f"{word} the cat {number}"} for number, word in enumerate(words))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def asked(monkeypatch):
    """What the command asks of ``train``, which answers at once."""
    calls = []

    def train(pairs, output, settings, **options):
        calls.append((pairs, output, settings, options))
        measured = {"nDCG@10": 0.25}, {"nDCG@10": 0.5}
        return Record({}, "digest", 18, 2, *measured, [FinishedRound(18, 1, [])], 61.2)

    monkeypatch.setattr(rounds, "train", train)
    return calls


def test_a_tiny_model_is_trained_and_said_to_be(run, tmp_path, pairs_file):
    base, tokenizer = tmp_path / "base", tiny_models.tiny_tokenizer()
    tiny_models.tiny_bert(tokenizer).save_pretrained(base)
    tokenizer.save_pretrained(base)
    found = run(
        *("train", pairs_file, "--output", tmp_path / "model", "--base", base, "--steps", 1, "--dim", 8),
        *("--device", "cpu", "--json"),
    )
    assert found.code == 0
    assert found.json["n_train"] == 18
    assert (tmp_path / "model" / "README.md").is_file()


def test_without_options_the_defaults_stand(run, asked, tmp_path, pairs_file):
    assert run("train", pairs_file, "--output", tmp_path / "model").code == 0
    [(pairs, output, settings, options)] = asked
    assert settings == TrainingSettings()
    assert pairs[0] == Pair("bagu", "bagu the cat 0")
    assert (output, options) == (tmp_path / "model", {"corpus": None, "resume": False, "progress": None})


def test_every_option_reaches_the_settings(run, asked, tmp_path, pairs_file, corpus):
    outcome = run(
        *("train", pairs_file, "--output", tmp_path / "model", "--base", "x/y", "--teacher", "judge", "--rounds", 2),
        *("--negatives", 3, "--loss", "margin-mse", "--batch-size", 4, "--mini-batch-size", 2, "--bf16"),
        *("--weigh-queries", "--moved-by", 0.5, "--temperature", 0.25),
        *("--learning-rate", 0.5, "--epochs", 1.5, "--steps", 9, "--full", "--dim", 64, "--matryoshka", "32, 16"),
        *("--seed", 5, "--held-out", 7, "--eval-every", 11, "--device", "cpu", "--resume", "--corpus", corpus),
    )
    assert outcome.code == 0
    [(_, _, settings, options)] = asked
    assert settings == TrainingSettings(
        **{"base": "x/y", "teacher": "judge", "rounds": 2, "n_negatives": 3, "loss": "margin-mse", "batch_size": 4},
        **{"mini_batch_size": 2, "bf16": True, "learning_rate": 0.5, "epochs": 1.5, "max_steps": 9, "rank": None},
        **{"dim": 64, "matryoshka_dims": (32, 16), "seed": 5, "n_held_out": 7, "eval_every": 11, "device": "cpu"},
        **{"weigh_queries": True, "moved_by": 0.5, "temperature": 0.25},
    )
    assert options["resume"]
    assert options["corpus"].keys() == {"notice", "holiday", "travel", "laptop"}


def test_files_of_the_corpus_that_cannot_be_read_are_named(run, asked, tmp_path, pairs_file):
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "a.txt").write_text("Some text.")
    (folder / "latin.txt").write_bytes(b"\xff")
    outcome = run("train", pairs_file, "--output", tmp_path / "model", "--corpus", folder)
    assert outcome.code == 0
    assert "latin.txt: expected UTF-8" in outcome.err
    assert asked[0][3]["corpus"] == {"a.txt": "Some text."}


def test_what_was_measured_is_printed(run, asked, tmp_path, pairs_file):
    outcome = run("train", pairs_file, "--output", tmp_path / "model")
    assert "trained on 18 pairs in 1 round, in 61 s" in outcome.err
    assert "2 held-out pairs" in outcome.out
    assert "0.2500" in outcome.out
    assert "0.5000" in outcome.out


def test_an_interrupt_says_how_to_go_on(run, monkeypatch, tmp_path, pairs_file):
    def train(pairs, output, *_, **__):
        rounds.working_folder(output).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "train", train)
    outcome = run("train", pairs_file, "--output", tmp_path / "model")
    assert outcome.code == 130
    assert "model.training holds what is done; run the command again with --resume" in outcome.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--loss", "triplet"], 1, "InvalidTrainingError: loss='triplet' is not known"),
        (["--matryoshka", "a"], 2, "takes whole numbers such as 64,32"),
        (["--loss", "distil"], 1, "needs a teacher's scores"),
    ],
)
def test_options_that_are_not_possible_are_refused(run, asked, tmp_path, pairs_file, options, code, said):
    outcome = run("train", pairs_file, "--output", tmp_path / "model", *options)
    assert outcome.code == code
    assert said in " ".join(outcome.err.replace("│", " ").split())
    assert not asked


def test_documents_of_one_id_are_refused(run, asked, tmp_path, pairs_file, corpus):
    arguments = ["train", pairs_file, "--output", tmp_path / "model", "--corpus", corpus, "--corpus", corpus]
    outcome = run(*arguments)
    assert outcome.code == 1
    assert "DuplicateIdError" in outcome.err
    assert not asked


@pytest.fixture
def judged(tmp_path) -> Path:
    """A test whose one query is a pair's and whose answer is a passage that another pair has."""
    folder = tmp_path / "judged"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "bagu the cat 0"}\n{"_id": "d2", "text": "other"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "Bahe?"}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return folder


def test_pairs_that_a_test_is_in_are_refused(run, asked, tmp_path, pairs_file, judged):
    outcome = run("train", pairs_file, "--output", tmp_path / "model", "--test", judged)
    assert outcome.code == 1
    assert "pair 0 has passage 'd1'" in " ".join(outcome.err.split())
    assert not asked


def test_a_test_that_no_pair_knows_stops_nothing(run, asked, tmp_path, pairs_file, judged):
    rows = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    # the document of the test is named by the pair that has its text: both splits share it
    rows[0]["passage_id"] = "d1"
    pairs_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("train", pairs_file, "--output", tmp_path / "model", "--test", judged).code == 0
    assert len(asked) == 1
    # a number of another collection is no such name
    rows[0]["passage_id"], rows[1]["passage_id"] = "other", "d1"
    pairs_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = run("train", pairs_file, "--output", tmp_path / "model", "--test", judged)
    assert "pair 0 has passage 'd1'" in " ".join(outcome.err.split())
    (judged / "queries.jsonl").write_text('{"_id": "q1", "text": "BAGU"}\n')
    outcome = run("train", pairs_file, "--output", tmp_path / "model", "--test", judged)
    assert "pair 0 has query 'q1'" in " ".join(outcome.err.split())
    assert len(asked) == 1


def test_a_missing_package_is_said_with_the_extra(run, monkeypatch, tmp_path, pairs_file):
    monkeypatch.setattr(dependencies, "find_spec", lambda name: None)
    outcome = run("train", pairs_file, "--output", tmp_path / "model")
    assert outcome.code == 1
    assert "pip install 'late-interaction-rag[train]'" in outcome.err
