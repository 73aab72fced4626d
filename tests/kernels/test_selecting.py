from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from colbert_rag.kernels import selecting
from colbert_rag.search.candidates import keep_best

SCORES = st.one_of(
    arrays.arrays(np.uint32, st.integers(0, 80), elements=st.integers(0, 9)),
    arrays.arrays(np.float32, st.integers(0, 80), elements=st.floats(-2, 2, width=32)),
    arrays.arrays(np.float32, st.integers(1, 80), elements=st.sampled_from([-np.inf, -0.0, 0.0, 1.0])),
)


@settings(deadline=None)
@given(SCORES, st.integers(1, 90))
def test_the_best_are_those_that_numpy_finds(scores, n):
    np.testing.assert_array_equal(selecting.keep_best(scores, n), keep_best(scores, n))


@pytest.mark.parametrize("order", ["rising", "falling", "up and down", "equal"])
def test_the_order_of_the_scores_changes_nothing(order):
    rising = np.arange(1_001, dtype=np.float32)
    scores = {
        "rising": rising,
        "falling": rising[::-1].copy(),
        "up and down": np.concatenate([rising[::2], rising[1::2][::-1]]),
        "equal": np.zeros(1_001, np.float32),
    }[order]
    for n in (1, 2, 500, 1_000, 1_001):
        np.testing.assert_array_equal(selecting.keep_best(scores, n), keep_best(scores, n))


@given(st.lists(st.booleans(), max_size=30), st.lists(st.integers(0, 30), max_size=5))
@settings(deadline=None)
def test_ends_move_with_what_is_kept_before_them(is_kept, cuts):
    kept = np.flatnonzero(np.array(is_kept, bool))
    ends = np.array(sorted(min(cut, len(is_kept)) for cut in cuts), np.int64)
    expected = [sum(is_kept[:end]) for end in ends.tolist()]
    selecting.moved(ends, kept)
    assert ends.tolist() == expected


def test_parts_are_taken_and_joined():
    first, second = np.array([3, 1, 2], np.uint32), np.array([7], np.uint32)
    found = selecting.joined(selecting.taken(first, selecting.numbers(2)[::-1].copy()), second)
    assert (found.tolist(), found.dtype) == ([1, 3, 7], np.uint32)
