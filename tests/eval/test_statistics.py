"""Intervals and tests against published values, brute force and simulated truth."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.statistics import (
    bootstrap_weights,
    cluster_sums,
    holm,
    mcnemar_midp,
    mean_interval,
    ratio_interval,
    sign_flip_p,
    wilson,
)
from eval.statistics.ranking import competition_ranks, pair_p_values, rank_intervals, tie_letters


@pytest.mark.parametrize(("n_true", "n"), [(0, 20), (20, 20), (7, 64), (500, 1000)])
def test_wilson_equals_scipy(n_true: int, n: int) -> None:
    expected = stats.binomtest(n_true, n).proportion_ci(method="wilson")
    assert wilson(n_true, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_has_a_width_at_both_ends() -> None:
    assert wilson(0, 64).low == 0 and wilson(0, 64).high > 0.05
    assert wilson(64, 64).high == 1 and wilson(64, 64).low < 0.95


def test_bootstrap_is_repeatable_and_draws_whole_clusters() -> None:
    weights = bootstrap_weights(30, 50, seed=3)
    assert (weights == bootstrap_weights(30, 50, seed=3)).all()
    assert (weights.sum(axis=1) == 30).all()
    assert not (weights == bootstrap_weights(30, 50, seed=4)).all()


def test_repeats_of_a_prompt_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(200)
    weights = bootstrap_weights(200)
    once = mean_interval(values, np.arange(200), weights)
    copied = mean_interval(np.repeat(values, 8), np.repeat(np.arange(200), 8), weights)
    assert once == pytest.approx(copied)


def test_interval_of_a_ratio_covers_the_truth_as_often_as_it_says() -> None:
    # Micro CER on simulated prompts of different lengths: 95 % wanted, 600 simulations allow 93 to 97.
    rng = np.random.default_rng(1)
    weights = bootstrap_weights(250, 600)
    n_covered = 0
    for _ in range(600):
        lengths = rng.integers(3, 20, 250).astype(float)
        wrong = rng.binomial(lengths.astype(int), rng.beta(2, 6, 250)).astype(float)
        interval = ratio_interval(wrong, lengths, weights)
        n_covered += interval is not None and interval.low <= 0.25 <= interval.high
    assert 0.93 <= n_covered / 600 <= 0.97


def test_no_interval_is_claimed_where_all_agree() -> None:
    assert ratio_interval(np.full(9, 2.0), np.full(9, 4.0), bootstrap_weights(9)) is None
    assert mean_interval(np.zeros(9), np.arange(9), bootstrap_weights(9)) == wilson(0, 9)


def test_cluster_sums_adds_by_cluster() -> None:
    assert cluster_sums([1, 2, 4], np.array([0, 2, 0]), 3).tolist() == [5, 0, 2]


@pytest.mark.parametrize(
    ("only_a", "only_b", "expected"),
    # Fagerland, Lydersen and Laake 2013: airway hyper-responsiveness, 1 and 7 discordant pairs.
    # An even split and no pair at all are no evidence.
    [(1, 7, 0.0391), (7, 1, 0.0391), (5, 5, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_midp_follows_the_paper(only_a: int, only_b: int, expected: float) -> None:
    assert mcnemar_midp(only_a, only_b) == pytest.approx(expected, abs=5e-5)


def test_sign_flips_equal_the_full_enumeration() -> None:
    differences = np.array([0.5, -0.25, 1.0, 0.75, 0.5, 0.0, -0.5, 1.0])
    every = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=8)]
    exact = np.mean(np.array(every) >= abs(differences.sum()) - 1e-12)
    assert sign_flip_p(differences[:, None], 40_000)[0] == pytest.approx(exact, abs=0.01)


def test_sign_flips_reject_a_true_null_as_rarely_as_they_say() -> None:
    rng = np.random.default_rng(2)
    p = sign_flip_p(rng.normal(size=(60, 1000)), 1000)
    assert (p <= 0.05).mean() <= 0.065


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_equal_values_share_a_rank() -> None:
    assert competition_ranks([0.5, 0.9, 0.5, 0.1]) == [2, 1, 2, 4]


def test_rank_intervals_are_wide_only_where_rows_are_close() -> None:
    rng = np.random.default_rng(3)
    draws = rng.normal([5.0, 1.0, 1.05, -4.0], 0.3, size=(2000, 4))
    assert rank_intervals(draws) == [(1, 1), (2, 3), (2, 3), (4, 4)]


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.sampled_from(_pairs(n))))))
def test_two_rows_share_a_letter_exactly_when_not_told_apart(case: tuple[int, set[tuple[int, int]]]) -> None:
    n, different = case[0], {pair for pair in case[1] if pair[0] != pair[1]}
    letters = tie_letters(n, different)
    assert letters[0].startswith("a")
    for i, j in combinations(range(n), 2):
        assert bool(set(letters[i]) & set(letters[j])) == ((i, j) not in different)


def test_pairs_are_compared_on_the_same_prompts() -> None:
    base = np.tile([1.0, 0.0], 50)
    means = np.stack([base, base, np.ones(100)], axis=1)
    p = pair_p_values(means, is_binary=True)
    assert p[0, 1] == 1.0
    assert p[0, 2] < 1e-6
    assert pair_p_values(means, is_binary=False)[0, 2] < 0.001


def _pairs(n: int) -> list[tuple[int, int]]:
    return [*combinations(range(n), 2), (0, 0)]
