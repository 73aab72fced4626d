from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.search import LOCAL_TOKENS, local_score


def naive(similarities, first):
    return max(similarities[first : first + LOCAL_TOKENS].max(axis=0).sum(), -np.inf)


@pytest.mark.parametrize("n_tokens", [1, 31, 32, 33, LOCAL_TOKENS - 1, LOCAL_TOKENS])
def test_a_document_within_the_window_has_its_maxsim(n_tokens):
    similarities = np.random.default_rng(n_tokens).random((n_tokens, 5)).astype(np.float32)
    assert local_score(similarities) == pytest.approx(similarities.max(axis=0).sum(), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(LOCAL_TOKENS, 1_500), st.integers(1, 7), st.integers(0, 10_000))
def test_it_lies_between_the_best_window_64_tokens_apart_and_the_best_of_all_windows(n_tokens, n_query, seed):
    similarities = np.random.default_rng(seed).standard_normal((n_tokens, n_query)).astype(np.float32)
    least = max(naive(similarities, first) for first in range(0, n_tokens - LOCAL_TOKENS + 1, 64))
    most = max(naive(similarities, first) for first in range(n_tokens - LOCAL_TOKENS + 1))
    assert least - 1e-4 <= local_score(similarities) <= most + 1e-4


def test_the_end_of_a_document_is_not_passed_over():
    similarities = np.zeros((1_000, 2), np.float32)
    similarities[990, 0] = similarities[999, 1] = 1.0
    assert local_score(similarities) == pytest.approx(2.0)


def test_matches_far_apart_count_less_than_matches_at_one_place():
    scattered, together = np.zeros((2, 2_000, 3), np.float32)
    scattered[[0, 900, 1_900], [0, 1, 2]] = 1.0
    together[[900, 950, 1_000], [0, 1, 2]] = 0.9
    assert scattered.max(axis=0).sum() > together.max(axis=0).sum()
    assert local_score(scattered) < local_score(together)
