"""Each loss against its formula, over scores that are computed token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_rag.encoder import Encoder
from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.losses import make_loss
from colbert_rag.training.settings import TrainingSettings

QUERIES = ["bace", "difo gu", "haje"]
POSITIVES = ["bace the cat.", "gu difo lo", "ki haje, mu the cat"]
NEGATIVES = ["lolo", "the bace mu mu", "cat dici"]
TEACHER = torch.tensor([[3.0, -1.0], [2.0, 1.5], [0.5, 0.0]])


def maxsim(query, document):
    return sum(max(float(q @ d) for d in document) for q in query)


def cut(vectors, dim):
    leading = vectors[:, :dim].astype(np.float64)
    return leading / np.linalg.norm(leading, axis=1, keepdims=True)


def score_table(model, documents, dim=16):
    """``(queries, documents)`` MaxSim, from the vectors that sentence-transformers gives."""
    asked = [cut(vectors, dim) for vectors in model.encode_query(QUERIES, convert_to_numpy=True)]
    held = [cut(vectors, dim) for vectors in model.encode_document(documents, convert_to_numpy=True)]
    return np.array([[maxsim(query, document) for document in held] for query in asked])


def log_softmax(scores):
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def features(model, *columns):
    tasks = ["query", *["document"] * (len(columns) - 1)]
    return [
        {**model.preprocess(texts, task=task, prompt=model.prompts[task]), "task": task}
        for texts, task in zip(columns, tasks, strict=True)
    ]


def value(model, settings, columns, labels=None):
    loss = make_loss(model.eval(), settings)
    with torch.no_grad():
        return float(loss(features(model, *columns), labels))


def in_batch(table):
    rows = np.arange(len(table))
    return -log_softmax(table)[rows, rows].mean()


def all_documents():
    return [*POSITIVES, *NEGATIVES]


def divergence(table):
    teacher = log_softmax(TEACHER.numpy().astype(np.float64))
    student = log_softmax(np.stack([table[range(3), range(3)], table[range(3), range(3, 6)]], axis=1))
    return (np.exp(teacher) * (teacher - student)).sum(axis=1).mean()


@pytest.mark.parametrize("name", ["in-batch", "cached"])
def test_in_batch_is_the_softmax_over_all_documents_of_the_batch(make_model, name):
    model = make_model()
    found = value(model, TrainingSettings(loss=name, mini_batch_size=2), [QUERIES, POSITIVES, NEGATIVES])
    assert found == pytest.approx(in_batch(score_table(model, all_documents())), rel=1e-4)


def test_pairwise_is_the_softmax_over_a_positive_and_a_negative(make_model):
    model = make_model()
    table = score_table(model, all_documents())
    expected = np.mean([-log_softmax(np.array([table[i, i], table[i, i + 3]]))[0] for i in range(3)])
    found = value(model, TrainingSettings(loss="pairwise"), [QUERIES, POSITIVES, NEGATIVES])
    assert found == pytest.approx(expected, rel=1e-4)


def test_distil_is_the_divergence_from_the_teacher_and_the_in_batch_softmax(make_model):
    model = make_model()
    table = score_table(model, all_documents())
    columns = [QUERIES, POSITIVES, NEGATIVES]
    alone = value(model, TrainingSettings(teacher="x", in_batch_weight=0), columns, TEACHER)
    both = value(model, TrainingSettings(teacher="x", in_batch_weight=0.5), columns, TEACHER)
    assert alone == pytest.approx(divergence(table), rel=1e-4)
    assert both == pytest.approx(divergence(table) + 0.5 * in_batch(table), rel=1e-4)


def test_margin_mse_is_the_squared_error_of_the_margins(make_model):
    model = make_model()
    table = score_table(model, all_documents())
    margins = [table[i, i] - table[i, i + 3] for i in range(3)]
    expected = np.mean([(margin - float(t[0] - t[1])) ** 2 for margin, t in zip(margins, TEACHER, strict=True)])
    found = value(model, TrainingSettings(loss="margin-mse", teacher="x"), [QUERIES, POSITIVES, NEGATIVES], TEACHER)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["in-batch", "cached"])
def test_leading_dimensions_add_their_own_loss(make_model, name):
    model = make_model()
    settings = TrainingSettings(loss=name, mini_batch_size=2, matryoshka_dims=(8, 4))
    expected = sum(in_batch(score_table(model, POSITIVES, dim)) for dim in (16, 8, 4))
    assert value(model, settings, [QUERIES, POSITIVES]) == pytest.approx(expected, rel=1e-4)


def gradients(model, settings):
    loss = make_loss(model.eval(), settings)
    model.zero_grad()
    loss(features(model, QUERIES, POSITIVES, NEGATIVES), None).backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


@pytest.mark.parametrize("dims", [(), (8,)])
def test_gradient_caching_gives_the_gradients_of_one_pass(make_model, dims):
    model = make_model()
    whole = gradients(model, TrainingSettings(loss="in-batch", matryoshka_dims=dims))
    cached = gradients(model, TrainingSettings(loss="cached", mini_batch_size=2, matryoshka_dims=dims))
    assert float(whole.norm()) > 0.1
    torch.testing.assert_close(cached, whole, rtol=1e-4, atol=1e-5)


def test_vectors_of_the_encoder_are_those_that_are_trained(make_model):
    model = make_model()
    encoder = Encoder(model, precision="float32")
    documents = [document.vectors for document in encoder.encode_documents(POSITIVES)]
    ours = [[maxsim(query, document) for document in documents] for query in encoder.encode_queries(QUERIES)]
    np.testing.assert_allclose(ours, score_table(model, POSITIVES), atol=2e-2)


def test_leading_dimensions_that_the_model_lacks_are_refused(make_model):
    with pytest.raises(InvalidTrainingError, match="expected each below 16"):
        make_loss(make_model(), TrainingSettings(matryoshka_dims=(16,)))
