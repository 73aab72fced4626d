"""Distillation over a batch against its formula, over scores that are computed token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_rag.encoder.adapting import project
from colbert_rag.encoder.loading import Checkpoint
from colbert_rag.training import rounds
from colbert_rag.training.losses import make_loss
from colbert_rag.training.settings import TrainingSettings

QUERIES = ["bace", "difo gu", "haje"]
DOCUMENTS = ["bace the cat.", "gu difo lo", "ki haje, mu the cat"]


@pytest.fixture
def settings(plain_folder):
    """Of the loss alone, with the plain folder's model as base."""
    return lambda **options: TrainingSettings(
        base=str(plain_folder), loss="in-batch-distil", teacher="wide", in_batch_weight=0, device="cpu", **options
    )


def cut(vectors, dim):
    leading = vectors[:, :dim].astype(np.float64)
    return leading / np.linalg.norm(leading, axis=1, keepdims=True)


def log_softmax_of_scores(model, temperature, dim=None, more=0.0):
    queries = [cut(vectors, dim) for vectors in model.encode_query(QUERIES, convert_to_numpy=True)]
    documents = [cut(vectors, dim) for vectors in model.encode_document(DOCUMENTS, convert_to_numpy=True)]
    table = (np.array([[(q @ d.T).max(axis=1).sum() for d in documents] for q in queries]) + more) / temperature
    return table - np.log(np.exp(table).sum(axis=1, keepdims=True))


def cosines(model):
    """Of whole texts: the means of what the backbone alone gives for their tokens, punctuation too."""
    means = []
    for task, texts in (("query", QUERIES), ("document", DOCUMENTS)):
        given = model.tokenizer([model.prompts[task] + text for text in texts], padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model[0].auto_model(**given).last_hidden_state.numpy()
        means.append(
            [rows[mask > 0].mean(axis=0) for rows, mask in zip(hidden, given["attention_mask"].numpy(), strict=True)]
        )
    queries, documents = (cut(np.array(rows), None) for rows in means)
    return queries @ documents.T


def divergence(model, plain_folder, temperature=1.0, dim=None, whole_text_weight=0.0):
    wide = project(Checkpoint(str(plain_folder)), (), None, device="cpu")
    # it reads the batch as the student does
    wide.prompts = model.prompts
    teacher = log_softmax_of_scores(wide, temperature, more=whole_text_weight * cosines(wide))
    student = log_softmax_of_scores(model, temperature, dim)
    return (np.exp(teacher) * (teacher - student)).sum(axis=1).mean() * temperature**2


def features(model):
    return [
        {**model.preprocess(texts, task=task, prompt=model.prompts[task]), "task": task}
        for texts, task in ((QUERIES, "query"), (DOCUMENTS, "document"))
    ]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_it_is_the_divergence_from_the_wide_scores_of_the_batch(make_model, plain_folder, settings, temperature):
    model = make_model().eval()
    with torch.no_grad():
        found = float(make_loss(model, settings(temperature=temperature))(features(model)))
    assert found > 1e-4
    assert found == pytest.approx(divergence(model, plain_folder, temperature), rel=1e-3)


def test_the_teacher_may_add_the_cosine_of_whole_texts(make_model, plain_folder, settings):
    model = make_model().eval()
    with torch.no_grad():
        found = float(make_loss(model, settings(whole_text_weight=4.0))(features(model)))
    assert found == pytest.approx(divergence(model, plain_folder, whole_text_weight=4.0), rel=1e-3)
    assert found != pytest.approx(divergence(model, plain_folder), rel=1e-2)


def test_leading_dimensions_are_held_to_the_teacher_s_whole_width(make_model, plain_folder, settings):
    model = make_model().eval()
    with torch.no_grad():
        found = float(make_loss(model, settings(matryoshka_dims=(8,)))(features(model)))
    assert found == pytest.approx(divergence(model, plain_folder) + divergence(model, plain_folder, dim=8), rel=1e-3)


def test_a_batch_is_taught_once_and_the_next_one_anew(make_model, settings):
    model = make_model().eval()
    loss = make_loss(model, settings(matryoshka_dims=(8,)))
    taught = loss.losses[0]
    calls = []
    teacher = taught._teacher[0]
    original = teacher.forward
    teacher.forward = lambda *args, **options: calls.append(1) or original(*args, **options)
    with torch.no_grad():
        loss(features(model))
        assert len(calls) == 2
        loss(features(model))
    assert len(calls) == 4


def test_the_teacher_is_no_part_of_what_is_trained(make_model, settings):
    loss = make_loss(make_model(), settings(matryoshka_dims=(8,)))
    assert {id(weight) for weight in loss.parameters()} == {id(weight) for weight in loss.model.parameters()}


def test_a_batch_passes_once_through_a_backbone_that_is_not_trained(make_model, plain_folder, settings):
    model = make_model().eval()
    loss = make_loss(model, settings(adapted_layers=0, whole_text_weight=4.0, matryoshka_dims=(8,)))
    calls = []
    original = model[0].forward
    model[0].forward = lambda *args, **options: calls.append(1) or original(*args, **options)
    with torch.no_grad():
        found = float(loss(features(model)))
    assert len(calls) == 2
    whole = {"whole_text_weight": 4.0}
    expected = divergence(model, plain_folder, **whole) + divergence(model, plain_folder, dim=8, **whole)
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("layers", [None, 0])
def test_a_training_with_it_brings_the_model_nearer_to_the_teacher(
    make_settings, plain_folder, pairs, tmp_path, layers
):
    settings = make_settings(
        **{"base": str(plain_folder), "dim": 8, "loss": "in-batch-distil", "teacher": "wide", "in_batch_weight": 0},
        **{"max_steps": 12, "adapted_layers": layers, "learning_rate": 5e-2 if layers == 0 else 5e-3},
    )
    log = rounds.train(pairs, tmp_path / "model", settings).log()
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
