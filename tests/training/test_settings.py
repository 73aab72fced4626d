from __future__ import annotations

import pytest

from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "in-batch"), ({"teacher": "x"}, "distil"), ({"teacher": "x", "loss": "margin-mse"}, "margin-mse")],
)
def test_a_teacher_decides_the_loss_where_none_is_named(options, expected):
    assert TrainingSettings(**options).loss_name == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0),
        ({"rounds": 2}, 7),
        ({"loss": "pairwise"}, 7),
        ({"teacher": "x"}, 7),
        ({"n_negatives": 3}, 3),
        ({"teacher": "wide", "loss": "in-batch-distil"}, 0),
    ],
)
def test_negatives_are_mined_where_something_needs_them(options, expected):
    assert TrainingSettings(**options).n_mined == expected


def test_all_weights_take_smaller_steps_than_an_adapter():
    assert TrainingSettings(rank=None).rate < TrainingSettings().rate
    assert TrainingSettings(learning_rate=0.25).rate == 0.25


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size=0 is not possible: a whole number of at least 1"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"rank": 0}, "rank=0"),
        ({"seed": -1}, "seed=-1"),
        ({"rounds": True}, "rounds=True"),
        ({"matryoshka_dims": (0,)}, "matryoshka_dims=0"),
        ({"epochs": float("nan")}, "epochs=nan is not possible: a number above 0"),
        ({"temperature": 0}, "temperature=0"),
        ({"learning_rate": -1e-3}, "learning_rate=-0.001"),
        ({"projection_rate": 0}, "projection_rate=0 is not possible: a number above 0"),
        ({"in_batch_weight": -1}, "in_batch_weight=-1"),
        ({"whole_text_weight": float("inf")}, "whole_text_weight=inf"),
        ({"topics": -1}, "topics=-1"),
        ({"adapted_layers": -1}, "adapted_layers=-1"),
        ({"loss": "triplet"}, "loss='triplet' is not known; expected one of in-batch, cached"),
        ({"loss": "pairwise", "n_negatives": 0}, "n_negatives is 0"),
        ({"loss": "distil"}, "needs a teacher's scores, and none is named"),
        ({"loss": "in-batch", "teacher": "x"}, "needs no teacher, and one is named"),
        ({"loss": "in-batch-distil", "teacher": "x"}, "takes the teacher 'wide' alone"),
        ({"n_negatives": 101}, "n_negatives=101 is not possible: .* the first 100 documents .* Take 100 or fewer"),
        ({"n_negatives": 3, "mining_depth": 2}, "n_negatives=3 is not possible: .* first 2 documents"),
        ({"mining_depth": 0}, "mining_depth=0"),
        ({"mining_margin": -0.1}, "mining_margin=-0.1 is not possible: a number from 0 to 1"),
        ({"mining_margin": 1.0}, "mining_margin=1 is not possible: no negative would be left"),
        ({"moved_by": 1.5}, "moved_by=1.5 is not possible: a number from 0 to 1"),
        ({"moved_by": float("nan")}, "moved_by=nan"),
        ({"weighting_rate": 0}, "weighting_rate=0 is not possible: a number above 0"),
        ({"mean_decay": -0.1}, "mean_decay=-0.1 is not possible: a number from 0 to 1"),
        ({"mean_decay": 1}, "mean_decay=1 is not possible: the mean would never move"),
        ({"base": "model/delta.safetensors"}, "is a delta, which holds a part of a model. Name the folder"),
    ],
)
def test_what_is_not_possible_is_refused_by_name(options, said):
    with pytest.raises(InvalidTrainingError, match=said):
        TrainingSettings(**options)
