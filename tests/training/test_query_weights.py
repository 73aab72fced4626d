"""What makes a token of a query count: what it is learned from, and the recipe."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from colbert_rag.encoder.minilm.weights import token_weights
from colbert_rag.training.projection import Question
from colbert_rag.training.query_weights import Matches, learn_direction, main, matches_of

EYE = np.eye(4, dtype=np.float32)
DOCUMENTS = [EYE[[0, 1]], EYE[[1, 2]], EYE[[2, 3]], EYE[[3, 0]]]


def test_matches_are_with_the_best_answer_and_with_no_other():
    question = Question(EYE[[0, 1]], 2, {0, 2})
    found = matches_of([question, question], [d.astype(np.float16) for d in DOCUMENTS], 0)
    np.testing.assert_array_equal(found.tops[:, 0], 1)
    # documents 1 and 3 hold one of the two tokens each
    np.testing.assert_array_equal(found.tops[:2, 1:].sum(axis=0), 1)
    np.testing.assert_array_equal(found.units, EYE[[0, 1, 0, 1]])
    assert found.question.tolist() == [0, 0, 1, 1]


@pytest.fixture
def matches() -> Matches:
    """The second token of each question finds its like in the answer alone, the first wherever it looks."""
    tops = np.random.default_rng(0).uniform(0.3, 0.9, (100, 5)).astype(np.float32)
    tops[1::2, 0] = 0.95
    return Matches(EYE[np.tile([0, 1], 50)], tops, np.repeat(np.arange(50), 2))


def test_what_tells_answers_apart_counts_more(matches):
    direction = learn_direction([matches, matches], 0.001)
    assert token_weights(EYE[[0, 1]], direction)[1] > 1.2


def test_a_penalty_holds_the_direction_back(matches):
    np.testing.assert_allclose(token_weights(EYE[[0, 1]], learn_direction([matches], 1e3)), 1, atol=0.01)


def test_command_writes_the_same_file_again(pairs_folder, write_tests, tmp_path):
    outputs = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for output in outputs:
        main([str(pairs_folder), str(write_tests()), "--output", str(output)])
    direction = load_file(outputs[0])["direction"]
    assert direction.shape == (128,)
    assert np.isfinite(direction).all()
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
