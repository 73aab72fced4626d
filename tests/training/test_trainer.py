"""Rounds of training on a tiny model: it learns, it is repeatable, and an interrupted one goes on as if it were not."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.fingerprint import weights_digest
from colbert_rag.encoder.query_weighting import query_weighting
from colbert_rag.errors import InvalidTrainingError, StorageError
from colbert_rag.training import trainer as module
from colbert_rag.training.batches import keep_apart
from colbert_rag.training.examples import Example, from_pairs
from colbert_rag.training.losses import make_loss
from colbert_rag.training.passages import group_texts
from colbert_rag.training.starting import Trainee
from colbert_rag.training.trainer import Round, train_round
from colbert_rag.training.watching import HeldOutEvaluator

LOSSES = {
    "in-batch": {"loss": "in-batch"},
    "cached": {"loss": "cached", "mini_batch_size": 3},
    "pairwise": {"loss": "pairwise"},
    "distil": {"teacher": "x"},
    "margin-mse": {"loss": "margin-mse", "teacher": "x"},
}


def examples_of(pairs, settings):
    if not settings.n_mined:
        return from_pairs(pairs)
    scores = (5.0, 0.0) if settings.teacher else None
    return [Example(p.query, (p.positive, pairs[i - 7].positive), scores) for i, p in enumerate(pairs)]


def run(folder, pairs, settings, *, progress=None, evaluator=None):
    trainee = Trainee(settings, [pair.positive for pair in pairs])
    work = Round(1, examples_of(pairs, settings), pairs, group_texts(pairs), Path(folder))
    return trainee, train_round(trainee, make_loss(trainee.model, settings), work, settings, evaluator, progress)


def interrupt_after(step):
    def progress(stage, done, total):
        if done == step:
            signal.raise_signal(signal.SIGINT)

    return progress


def loss_on_all(model, settings, examples):
    """Without dropout, on one batch of all examples."""
    columns = [[example.query for example in examples], *zip(*(example.documents for example in examples), strict=True)]
    tasks = ["query", *["document"] * (len(columns) - 1)]
    features = [
        {**model.preprocess(list(texts), task=task, prompt=model.prompts[task]), "task": task}
        for texts, task in zip(columns, tasks, strict=True)
    ]
    labels = torch.tensor([example.scores for example in examples]) if examples[0].scores else None
    with torch.no_grad():
        return float(make_loss(model.eval(), settings)(features, labels))


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_falls(tmp_path, make_settings, pairs, name):
    settings = make_settings(max_steps=10, learning_rate=2e-2, **LOSSES[name])
    examples = examples_of(pairs, settings)
    before = loss_on_all(Trainee(settings, []).model, settings, examples)
    trainee, log = run(tmp_path, pairs, settings)
    assert len(log) == 10
    assert loss_on_all(trainee.model, settings, examples) < 0.97 * before


def test_two_runs_with_one_seed_give_the_same_weights_and_another_seed_gives_others(tmp_path, make_settings, pairs):
    digests = []
    for number, seed in enumerate((0, 0, 1)):
        trainee, _ = run(tmp_path / str(number), pairs, make_settings(max_steps=3, seed=seed))
        trainee.finish()
        digests.append(weights_digest(trainee.model.state_dict()))
    assert digests[0] == digests[1] != digests[2]


def test_projections_have_a_learning_rate_of_their_own(tmp_path, make_settings, pairs):
    def moved(rate):
        settings = make_settings(max_steps=3, projection_rate=rate)
        start = Trainee(settings, []).trained
        trainee, _ = run(tmp_path / str(rate), pairs, settings)
        return {name: float((weight - start[name]).detach().abs().max()) for name, weight in trainee.trained.items()}

    usual, slow = moved(None), moved(5e-6)
    assert slow["1.linear.weight"] < usual["1.linear.weight"] / 100
    assert max(slow.values()) > max(usual.values()) / 2


def test_what_weighs_queries_has_a_learning_rate_of_its_own(tmp_path, make_settings, pairs):
    def moved(rate):
        settings = make_settings(max_steps=3, weigh_queries=True, weighting_rate=rate)
        trainee, _ = run(tmp_path / str(rate), pairs, settings)
        # it starts at zero
        return float(query_weighting(trainee.model).direction.detach().abs().max())

    assert 0 < moved(5e-6) < moved(None) / 100


def test_pairs_of_one_source_share_batches(tmp_path, make_settings, pairs, monkeypatch):
    seen = []
    monkeypatch.setattr(
        module, "keep_apart", lambda examples, *rest: seen.extend(rest[2]) or keep_apart(examples, *rest)
    )
    run(tmp_path, [replace(pair, source="ab"[n % 2]) for n, pair in enumerate(pairs)], make_settings(max_steps=1))
    assert [kind[0] for kind in seen] == ["a", "b"] * 20


def test_the_mean_of_the_steps_is_what_is_measured_and_kept(tmp_path, make_settings, pairs):
    """Against a mean that is computed here from the weights after each step."""
    settings, steps = make_settings(max_steps=5, learning_rate=1e-2, mean_decay=0.15), []
    trainee, passage_of = Trainee(settings, []), group_texts(pairs)
    means = {name: weight.detach().clone() for name, weight in trainee.trained.items()}

    def take(stage, done, total):
        steps.append({name: weight.detach().clone() for name, weight in trainee.trained.items()})

    evaluator = HeldOutEvaluator(pairs[:12], pairs[12:], passage_of, n_distractors=100, seed=0)
    work = Round(1, from_pairs(pairs[12:]), pairs, passage_of, tmp_path)
    log = train_round(trainee, make_loss(trainee.model, settings), work, settings, evaluator, take)
    for number, step in enumerate(steps, 1):
        keep = min(0.15, number / (number + 20))
        means = {name: keep * mean + (1 - keep) * step[name] for name, mean in means.items()}
    for name, mean in means.items():
        torch.testing.assert_close(trainee.trained[name].detach(), mean)
        assert not torch.equal(mean, steps[-1][name])
    assert evaluator(trainee.model)["nDCG@10"] == pytest.approx(log[-1]["nDCG@10"])


@pytest.mark.parametrize(
    ("rank", "step", "decay"),
    [(4, 3, 0.0), (None, 7, 0.0), (4, 9, 0.0), (4, 3, 0.9), (4, 9, 0.9)],
    ids=["lora", "all weights, second epoch", "last step", "mean", "mean, last step"],
)
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path, make_settings, pairs, rank, step, decay):
    settings = make_settings(rank=rank, max_steps=9, learning_rate=1e-3, mean_decay=decay)
    whole, expected = run(tmp_path / "whole", pairs, settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", pairs, settings, progress=interrupt_after(step))
    # as of a process that was killed while it wrote
    (tmp_path / "parts" / f"checkpoint-{step + 1}").mkdir()
    seen = []
    resumed, log = run(tmp_path / "parts", pairs, settings, progress=lambda stage, done, total: seen.append(done))
    assert seen == list(range(step + 1, 10))
    assert log == expected
    assert weights_digest(resumed.model.state_dict()) == weights_digest(whole.model.state_dict())


def test_the_best_weights_that_were_measured_are_kept(tmp_path, make_settings, pairs):
    passage_of = group_texts(pairs)
    evaluator = HeldOutEvaluator(pairs[:12], pairs[12:], passage_of, n_distractors=100, seed=0)
    # steps far too large: the model gets worse
    trainee, log = run(tmp_path, pairs[12:], make_settings(learning_rate=0.2, eval_every=1), evaluator=evaluator)
    measured = [entry["nDCG@10"] for entry in log if "nDCG@10" in entry]
    assert len(measured) == 6
    assert max(measured) > measured[-1]
    assert evaluator(trainee.model)["nDCG@10"] == pytest.approx(max(measured))


def test_training_encodes_as_the_encoder_does(tmp_path, make_settings, tiny_folder, pairs):
    """The prompts and the skiplist of the model: the first loss is that of vectors which the encoder gives."""
    folder = shutil.copytree(tiny_folder, tmp_path / "without dropout")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('dropout_prob": 0.1', 'dropout_prob": 0.0'))
    settings = make_settings(base=str(folder), batch_size=40, max_steps=1)
    _, [first] = run(tmp_path / "out", pairs, settings)
    encoder = Encoder(folder, device="cpu", precision="float32")
    queries = encoder.encode_queries([pair.query for pair in pairs])
    documents = encoder.encode_documents([pair.positive for pair in pairs])
    scores = torch.tensor([[(q @ d.vectors.astype("float32").T).max(axis=1).sum() for d in documents] for q in queries])
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(40))
    assert first["loss"] == pytest.approx(float(expected), rel=2e-3)


def test_only_the_adapter_and_the_projection_change(tmp_path, make_settings, pairs):
    trainee, _ = run(tmp_path, pairs, make_settings(max_steps=2))
    base = Encoder(trainee.base.name, device="cpu")._load_model().state_dict()
    for name, weight in trainee.model.state_dict().items():
        plain = name.replace(".base_layer", "")
        if "lora_" not in name:
            assert torch.equal(weight, base[plain]) != (plain == "1.linear.weight"), name


def test_a_training_that_diverges_is_refused(tmp_path, make_settings, pairs):
    with pytest.raises(InvalidTrainingError, match=r"train, round 1, step \d: the loss is (nan|inf).*has diverged"):
        run(tmp_path, pairs, make_settings(learning_rate=1e30))


@pytest.mark.parametrize("is_measured", [True, False])
def test_weights_that_are_not_finite_are_neither_measured_nor_kept(tmp_path, make_settings, pairs, is_measured):
    settings = make_settings(max_steps=4, eval_every=2)
    trainee, passage_of = Trainee(settings, []), group_texts(pairs)
    evaluator = HeldOutEvaluator(pairs[:4], pairs[4:], passage_of, n_distractors=10, seed=0)
    work = Round(1, from_pairs(pairs), pairs, passage_of, tmp_path)

    def lose(stage, done, total):
        if done == 2:
            trainee.trained["1.linear.weight"].data[0, 0] = float("nan")

    loss = make_loss(trainee.model, settings)
    with pytest.raises(InvalidTrainingError, match="not finite: the training has diverged"):
        train_round(trainee, loss, work, settings, evaluator if is_measured else None, lose)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_checkpoint_that_cannot_be_written_is_a_storage_error(tmp_path, make_settings, pairs, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(StorageError, match=r"cannot write there \(PytorchStreamWriter failed"):
        run(tmp_path, pairs, make_settings(max_steps=2, eval_every=2))


def test_bfloat16_needs_no_device_to_be_named(tmp_path, make_settings, pairs):
    _, log = run(tmp_path, pairs, make_settings(max_steps=1, bf16=True, device=None))
    assert len(log) == 1
