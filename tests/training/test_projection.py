"""The projection of the built-in model: what its matches pull at, and the recipe."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from colbert_rag.encoder.adapting import principal_axes
from colbert_rag.training.projection import Question, discriminating_axes, main, match_moment, second_moment

EYE = np.eye(6, dtype=np.float32)


def unit_rows(rng, n):
    rows = rng.standard_normal((n, 6)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def documents():
    rng = np.random.default_rng(0)
    return [unit_rows(rng, n).astype(np.float16) for n in (3, 5, 4, 6)]


def cross_entropy(metric, query, documents):
    """Of document 0 among all, with the matches that the tokens have before any projection."""
    scores = []
    for document in documents:
        wide = document.astype(np.float64)
        scores.append(np.einsum("qd,de,qe->", query, metric, wide[(query @ wide.T).argmax(axis=1)]))
    return np.log(np.exp(scores).sum()) - scores[0]


def test_moment_is_the_steepest_way_down(documents):
    query = unit_rows(np.random.default_rng(1), 4)
    moment = match_moment([Question(query, 0, {0})], documents, EYE)
    change = np.random.default_rng(2).standard_normal((6, 6)) * 1e-4
    change += change.T
    metric = np.eye(6)
    slope = cross_entropy(metric + change, query, documents) - cross_entropy(metric - change, query, documents)
    assert slope / 2 == pytest.approx(-(moment * change).sum(), rel=1e-2)
    np.testing.assert_allclose(moment, moment.T)


def test_no_other_answer_is_a_near_miss(documents):
    query = unit_rows(np.random.default_rng(1), 4)
    without = match_moment([Question(query, 0, {0})], [documents[n] for n in (0, 1, 3)], EYE)
    np.testing.assert_allclose(match_moment([Question(query, 0, {0, 2})], documents, EYE), without)


def test_every_question_counts_alike(documents):
    one, other = (Question(unit_rows(np.random.default_rng(n), 4), n, {n}) for n in (1, 2))
    both = match_moment([one, other], documents, EYE)
    alone = match_moment([one], documents, EYE) + match_moment([other], documents, EYE)
    np.testing.assert_allclose(both, alone / 2)


def test_without_weight_the_axes_are_principal(documents):
    vectors = second_moment(documents)
    wide = np.concatenate(documents).astype(np.float64)
    np.testing.assert_allclose(vectors, wide.T @ wide, rtol=1e-5)
    axes = discriminating_axes(vectors, [np.diag([0.0, 0, 0, 0, 0, 1])], 0.0, 3)
    np.testing.assert_allclose(axes, principal_axes(vectors, 3), atol=1e-6)


def test_with_weight_the_axes_keep_what_tells_apart(documents):
    axes = discriminating_axes(second_moment(documents), [np.diag([0.0, 0, 0, 0, 0, 7])], 5.0, 3)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert axes[0, 5] == pytest.approx(1, abs=0.05)


def test_command_writes_the_same_file_again(pairs_folder, write_tests, tmp_path):
    outputs = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for output in outputs:
        main([str(pairs_folder), str(write_tests()), "--output", str(output)])
    weight = load_file(outputs[0])["weight"]
    assert weight.shape == (128, 384)
    np.testing.assert_allclose(weight @ weight.T, np.eye(128), atol=1e-5)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
