from __future__ import annotations

import itertools

import numpy as np
import pytest

from colbert_rag.errors import InvalidQueryError
from colbert_rag.significance import paired_difference


def named(values: list[float]) -> dict[str, float]:
    return {f"q{n}": value for n, value in enumerate(values)}


def against_zero(values: list[float]) -> tuple[dict[str, float], dict[str, float]]:
    return named(values), named([0.0] * len(values))


@pytest.fixture
def noisy() -> list[float]:
    return np.random.default_rng(3).normal(0.05, 0.2, 60).tolist()


@pytest.mark.parametrize("values", [[0.5, 0.25, -0.125, 0.5, 0.75, 0.0, 0.3], [0.1, -0.1, 0.2, -0.3, 0.1, 0.0]])
def test_p_is_that_of_all_sign_flips(values: list[float]):
    flips = [abs(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=len(values))]
    exact = np.mean(np.array(flips) >= abs(sum(values)) - 1e-12)
    # four standard errors of 10,000 draws
    assert paired_difference(*against_zero(values)).p == pytest.approx(exact, abs=0.02)


def test_p_is_near_that_of_scipy(noisy: list[float]):
    from scipy.stats import permutation_test

    randoms = np.random.default_rng(1)
    theirs = permutation_test(
        (np.array(noisy),), np.mean, permutation_type="samples", n_resamples=9_999, random_state=randoms
    )
    assert 0.01 < theirs.pvalue < 0.5
    assert paired_difference(*against_zero(noisy)).p == pytest.approx(theirs.pvalue, abs=0.02)


def test_the_interval_holds_the_mean_and_is_near_that_of_the_normal_distribution(noisy: list[float]):
    difference = paired_difference(*against_zero(noisy))
    half = 1.96 * np.std(noisy, ddof=1) / np.sqrt(len(noisy))
    assert difference.mean == pytest.approx(np.mean(noisy))
    assert difference.n_queries == 60
    assert difference.low == pytest.approx(np.mean(noisy) - half, abs=0.15 * half)
    assert difference.high == pytest.approx(np.mean(noisy) + half, abs=0.15 * half)


def test_swapping_the_runs_changes_the_sign_alone(noisy: list[float]):
    run, baseline = against_zero(noisy)
    one, other = paired_difference(run, baseline), paired_difference(baseline, run)
    assert (one.mean, one.p) == (-other.mean, other.p)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-2)


def test_equal_runs_do_not_differ():
    difference = paired_difference(named([0.5, 1.0, 0.0]), named([0.5, 1.0, 0.0]))
    assert (difference.mean, difference.low, difference.high, difference.p) == (0.0, 0.0, 0.0, 1.0)


def test_queries_are_paired_by_id_and_not_by_order(noisy: list[float]):
    run, baseline = against_zero(noisy)
    shuffled = dict(sorted(run.items(), reverse=True))
    assert paired_difference(shuffled, baseline) == paired_difference(run, baseline)


def test_equal_seeds_give_equal_results_and_another_seed_another_draw(noisy: list[float]):
    run, baseline = against_zero(noisy)
    first = paired_difference(run, baseline, seed=1)
    assert paired_difference(run, baseline, seed=1) == first
    assert paired_difference(run, baseline, seed=2) != first


@pytest.mark.parametrize(
    ("run", "baseline", "said"),
    [
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0}, "2 are in one alone, such as 'b'"),
        ({"a": 1.0}, {"a": 0.0}, "at least two queries, found 1"),
        ({"a": 1.0, "b": float("nan")}, {"a": 1.0, "b": 0.0}, "finite values"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(run, baseline, said: str):
    with pytest.raises(InvalidQueryError, match=said):
        paired_difference(run, baseline)


def test_differences_that_cancel_prove_nothing():
    """Their sum is rounding and no more: every assignment of signs is at least as far from zero."""
    assert paired_difference(*against_zero([0.1, 0.1, 0.1, -0.3])).p == 1.0
