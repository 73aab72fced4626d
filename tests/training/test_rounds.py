"""A whole training: what it writes, and how it goes on after an interrupt."""

from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder

from colbert_rag import Document, Encoder, Index
from colbert_rag.encoder.delta import load_delta
from colbert_rag.encoder.fingerprint import weights_digest
from colbert_rag.errors import (
    IndexExistsError,
    InvalidTrainingError,
    MissingDependencyError,
    ModelNotFoundError,
    ModelUnsupportedError,
    StorageError,
)
from colbert_rag.training import dependencies, rounds
from colbert_rag.training.examples import Example
from colbert_rag.training.pairs import Pair
from colbert_rag.training.rounds import train, working_folder

TEXTS = ["baba the cat", "ce di, foguha!", "lolo 7"]
TWO_ROUNDS = {"rounds": 2, "n_negatives": 2, "max_steps": 3, "eval_every": 2, "loss": "pairwise"}


def digest_in(folder):
    return weights_digest(MultiVectorEncoder(str(folder), device="cpu").state_dict())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_settings, pairs):
    """The folder of one training of two rounds, and its record."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    return folder, train(pairs, folder, make_settings(**TWO_ROUNDS))


def test_plain_sentence_transformers_gives_the_vectors_of_our_encoder(finished):
    folder, _ = finished
    plain, ours = MultiVectorEncoder(str(folder), device="cpu"), Encoder(folder, device="cpu", precision="float32")
    assert type(plain) is MultiVectorEncoder
    for theirs, query in zip(plain.encode_query(TEXTS, convert_to_numpy=True), ours.encode_queries(TEXTS), strict=True):
        np.testing.assert_allclose(theirs, query, atol=1e-5)
    for theirs, document in zip(
        plain.encode_document(TEXTS, convert_to_numpy=True), ours.encode_documents(TEXTS), strict=True
    ):
        np.testing.assert_allclose(theirs, document.vectors, atol=1e-3)


def test_an_index_takes_the_folder_and_finds_it_again(finished, tmp_path):
    folder, _ = finished
    with Index.create(tmp_path / "index", encoder=Encoder(folder)) as index:
        index.add([Document("a", TEXTS[0]), Document("b", TEXTS[2])])
    with Index.open(tmp_path / "index") as index:
        assert {hit.id for hit in index.search("baba")} == {"a", "b"}


def test_the_delta_gives_the_weights_of_the_folder_and_is_smaller(finished):
    folder, _ = finished
    assert weights_digest(load_delta(folder / "delta.safetensors", "cpu").state_dict()) == digest_in(folder)
    assert (folder / "delta.safetensors").stat().st_size < (folder / "model.safetensors").stat().st_size


def test_the_weights_are_others_than_the_base_had(finished, tiny_folder):
    folder, _ = finished
    assert digest_in(folder) != digest_in(tiny_folder)


def test_the_record_beside_the_model_says_what_was_done(finished):
    folder, record = finished
    written = json.loads((folder / "training.json").read_text())
    assert written["after"] == record.after
    assert (record.n_train, record.n_held_out) == (36, 4)
    assert [done.n_documents for done in record.rounds] == [3, 3]
    steps = [entry["step"] for entry in record.log() if "loss" in entry]
    assert steps == list(range(1, 7))
    assert set(record.before) == set(record.after) == {"nDCG@10", "R@10"}


def test_card_and_curves_show_the_record(finished):
    folder, record = finished
    card = (folder / "README.md").read_text()
    assert f"| nDCG@10 | {record.before['nDCG@10']:.4f} | {record.after['nDCG@10']:.4f} |" in card
    assert "curves.svg" in card
    assert (folder / "curves.svg").read_text().count("<polyline") == 2


def test_nothing_is_left_of_the_work(finished):
    folder, _ = finished
    assert not working_folder(folder).exists()
    assert not [path for path in folder.rglob("*") if "checkpoint" in path.name or path.suffix == ".tmp"]


@pytest.mark.parametrize("stage", ["mine", "train, round 2"])
def test_an_interrupted_training_goes_on_to_the_same_weights(finished, tmp_path, make_settings, pairs, stage):
    folder, expected = finished
    settings, seen = make_settings(**TWO_ROUNDS), []

    def interrupt(said, done, total):
        seen.append(said)
        if said == stage and "train, round 1" in seen and done == (total if said == "mine" else 2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(pairs, tmp_path / "model", settings, progress=interrupt)
    assert not (tmp_path / "model").exists()
    with pytest.raises(IndexExistsError, match="holds a training that was interrupted"):
        train(pairs, tmp_path / "model", settings)
    with pytest.raises(InvalidTrainingError, match="was begun with seed=0"):
        train(pairs, tmp_path / "model", make_settings(**TWO_ROUNDS, seed=1), resume=True)
    record = train(pairs, tmp_path / "model", settings, resume=True)
    assert digest_in(tmp_path / "model") == digest_in(folder)
    assert (record.log(), record.after) == (expected.log(), expected.after)


def test_a_training_that_failed_while_it_wrote_the_model_goes_on_to_the_same_weights(
    finished, tmp_path, make_settings, pairs, monkeypatch
):
    folder, expected = finished

    def fail(*_):
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "draw_curves", fail)
        with pytest.raises(StorageError, match="cannot write there"):
            train(pairs, tmp_path / "model", make_settings(**TWO_ROUNDS))
    record = train(pairs, tmp_path / "model", make_settings(**TWO_ROUNDS), resume=True)
    assert digest_in(tmp_path / "model") == digest_in(folder)
    assert record.after == expected.after


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"base": "/no/such/model"}, ModelNotFoundError),
        ({"teacher": "/no/such/teacher"}, ModelNotFoundError),
        ({"matryoshka_dims": (64,)}, InvalidTrainingError),
        ({"loss": "pairwise", "n_negatives": 99}, InvalidTrainingError),
        ({"device": "tpu9"}, InvalidTrainingError),
        ({"learning_rate": 1e30}, InvalidTrainingError),
    ],
)
def test_what_is_refused_before_the_first_checkpoint_leaves_nothing_behind(
    tmp_path, make_settings, pairs, options, error
):
    with pytest.raises(error):
        train(pairs, tmp_path / "model", make_settings(**options))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (
            {"loss": "in-batch-distil", "teacher": "wide"},
            ModelUnsupportedError,
            "Name a plain base, or a cross-encoder",
        ),
        ({"teacher": "wide"}, ModelUnsupportedError, "Name a plain base, or a cross-encoder"),
        ({"teacher": "/no/such/teacher"}, ModelNotFoundError, "/no/such/teacher"),
    ],
)
def test_a_teacher_that_the_base_cannot_have_is_refused_before_anything_is_measured(
    tmp_path, make_settings, pairs, options, error, said
):
    stages = []
    with pytest.raises(error, match=said):
        train(pairs, tmp_path / "model", make_settings(**options), progress=lambda stage, *_: stages.append(stage))
    assert not stages
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_a_training_that_has_nothing_to_keep_leaves_nothing_behind(tmp_path, make_settings, pairs, error):
    def stop(stage, *_):
        raise error(stage)

    with pytest.raises(error, match="evaluate"):
        train(pairs, tmp_path / "model", make_settings(), progress=stop)
    assert not list(tmp_path.iterdir())


def test_what_was_mined_stays_when_the_training_fails(tmp_path, make_settings, pairs):
    def stop(stage, *_):
        if stage.startswith("train"):
            raise RuntimeError(stage)

    with pytest.raises(RuntimeError, match="train, round 1"):
        train(pairs, tmp_path / "model", make_settings(loss="pairwise"), progress=stop)
    assert (working_folder(tmp_path / "model") / "round-1" / "examples.jsonl").is_file()


def test_another_base_under_the_old_name_is_refused(tmp_path, make_settings, pairs, tiny_folder):
    base = shutil.copytree(tiny_folder, tmp_path / "base")
    settings = make_settings(base=str(base), eval_every=2)

    def interrupt(stage, done, _):
        if stage.startswith("train") and done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(pairs, tmp_path / "model", settings, progress=interrupt)
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if name.endswith("layer.0.attention.self.query.weight"))
    save_file({**weights, name: weights[name] * 2}, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidTrainingError, match="its weights or prompts have changed"):
        train(pairs, tmp_path / "model", settings, resume=True)
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    assert train(pairs, tmp_path / "model", settings, resume=True).base_sha256 is not None


def test_an_error_of_another_place_is_not_said_to_be_one_of_the_output(tmp_path, make_settings, pairs, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied", "/elsewhere")

    monkeypatch.setattr("colbert_rag.training.mining.mine", fail)
    with pytest.raises(StorageError, match=r"not for its own writing: PermissionError: .*'/elsewhere'"):
        train(pairs, tmp_path / "model", make_settings(loss="pairwise"))
    assert not list(tmp_path.iterdir())


def test_the_lengths_of_the_training_are_not_those_of_the_model(tmp_path, make_settings, pairs):
    short = make_settings(max_steps=1, document_length=8, query_length=4)
    train(pairs, tmp_path / "model", short)
    tokenizer = json.loads((tmp_path / "model" / "tokenizer.json").read_text())
    assert (tokenizer["truncation"], tokenizer["padding"]) == (None, None)
    [document] = MultiVectorEncoder(str(tmp_path / "model"), device="cpu").encode_document(["cat " * 30])
    assert len(document) > 30


def test_a_blank_text_is_refused_by_its_position(tmp_path, make_settings, pairs):
    with pytest.raises(InvalidTrainingError, match="Pair 40: query or positive is blank"):
        train([*pairs, Pair("a", " ")], tmp_path / "model", make_settings())


def test_bfloat16_trains_weights_that_stay_float32(tmp_path, make_settings, pairs, tiny_folder):
    train(pairs, tmp_path / "model", make_settings(bf16=True, max_steps=2, n_held_out=0))
    weights = MultiVectorEncoder(str(tmp_path / "model"), device="cpu").state_dict()
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert digest_in(tmp_path / "model") != digest_in(tiny_folder)


def test_a_plain_encoder_gets_a_projection_and_learns_from_its_own_wide_vectors(
    tmp_path, make_settings, plain_folder, pairs
):
    settings = make_settings(base=str(plain_folder), dim=8, teacher="wide", n_negatives=2, max_steps=2, n_held_out=0)
    record = train(pairs, tmp_path / "model", settings)
    assert record.after == {}
    assert Encoder(tmp_path / "model").dim == 8
    assert weights_digest(load_delta(tmp_path / "model/delta.safetensors", "cpu").state_dict()) == digest_in(
        tmp_path / "model"
    )


def test_negatives_are_mined_with_the_model_as_it_is_and_scored_by_the_teacher(
    tmp_path, make_settings, pairs, monkeypatch
):
    mined_with, scored = [], []

    def mine(given, corpus, encoder, *, n_negatives, **_):
        mined_with.append(encoder.encode_queries(["baba"])[0].copy())
        assert (len(given), corpus, n_negatives) == (36, {"x": "fogu"}, 1)
        return [Example(pair.query, (pair.positive, "fogu the cat")) for pair in given]

    def rescore(examples, teacher, progress):
        scored.append(teacher)
        return [Example(example.query, example.documents, (5.0, 0.0)) for example in examples]

    monkeypatch.setattr("colbert_rag.training.mining.mine", mine)
    monkeypatch.setattr("colbert_rag.training.rescoring.load_teacher", lambda name, **_: name)
    monkeypatch.setattr("colbert_rag.training.rescoring.rescore", rescore)
    settings = make_settings(teacher="judge", rounds=2, n_negatives=1, max_steps=2)
    train(pairs, tmp_path / "model", settings, corpus={"x": "fogu"})
    assert scored == ["judge", "judge"]
    assert not np.allclose(*mined_with)


def test_all_weights_are_trained_without_a_rank_and_there_is_no_delta(tmp_path, make_settings, pairs, tiny_folder):
    train(pairs, tmp_path / "model", make_settings(rank=None, max_steps=2, n_held_out=0))
    assert not (tmp_path / "model" / "delta.safetensors").exists()
    before, after = (MultiVectorEncoder(str(f), device="cpu").state_dict() for f in (tiny_folder, tmp_path / "model"))
    same = [name for name in before if before[name].equal(after[name])]
    # the pooler gives no token vector
    assert all("pooler" in name for name in same)


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path, make_settings, pairs):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(IndexExistsError, match="is not an empty folder"):
        train(pairs, tmp_path, make_settings())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_too_few_pairs_are_refused_before_anything_is_written(tmp_path, make_settings):
    with pytest.raises(InvalidTrainingError, match="1 pairs are left to train on; expected at least 2"):
        train([Pair("a", "A")], tmp_path / "model", make_settings())
    assert not list(tmp_path.iterdir())


def test_without_a_negative_for_anybody_there_is_nothing_to_train_on(tmp_path, make_settings, pairs):
    with pytest.raises(InvalidTrainingError, match="No query has 7 hard negatives among 3 texts"):
        train(pairs[:3], tmp_path / "model", make_settings(loss="pairwise"))
    # of which negatives come from the corpus alone
    corpus = {"a": "fogu", "b": "the cat", "c": "fogu"}
    with pytest.raises(InvalidTrainingError, match="No query has 7 hard negatives among 2 texts"):
        train(pairs[:3], tmp_path / "model", make_settings(loss="pairwise"), corpus=corpus)


def test_there_must_be_something_to_go_on_with(tmp_path, make_settings, pairs):
    with pytest.raises(InvalidTrainingError, match="holds no training that could go on"):
        train(pairs, tmp_path / "model", make_settings(), resume=True)


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path, make_settings, pairs):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write there"):
        train(pairs, tmp_path / "file" / "model", make_settings())


def test_a_missing_package_is_named_before_anything_is_written(tmp_path, make_settings, pairs, monkeypatch):
    monkeypatch.setattr(dependencies, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="Training needs accelerate"):
        train(pairs, tmp_path / "model", make_settings())
    assert not list(tmp_path.iterdir())
