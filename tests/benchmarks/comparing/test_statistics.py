"""Interquartile means, bootstrap intervals and performance profiles against what is computed by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.benchmarks.comparing.statistics import (
    Numbers,
    bootstrap_interval,
    interquartile_mean,
    performance_profile,
    pooled_interquartile_mean,
    profile_band,
)

SCORES = st.lists(st.floats(-10, 10), min_size=1, max_size=30)
TASKS = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=5), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([0.3], 0.3),
        ([0.0, 0.6, 0.3], 0.3),  # a quarter of three is none
        ([0.0, 0.2, 0.4, 1.0], 0.3),
        ([9.0, 0.1, 0.2, 0.3, -9.0], 0.2),
        ([8, 7, 6, 5, 4, 3, 2, 1], 4.5),
        ([100, 7, 6, 5, 4, 3, 2, -100, 1], 4.0),
    ],
)
def test_interquartile_means_by_hand(scores: list[float], mean: float) -> None:
    assert interquartile_mean(scores) == pytest.approx(mean)


@given(SCORES, st.randoms(use_true_random=False))
def test_an_interquartile_mean_lies_among_the_scores(scores: list[float], shuffling: random.Random) -> None:
    mean = interquartile_mean(scores)
    assert min(scores) <= mean <= max(scores)
    shuffling.shuffle(scores)
    assert interquartile_mean(scores) == mean


@given(st.lists(st.floats(0, 1), min_size=4, max_size=20))
def test_one_wild_score_moves_an_interquartile_mean_no_further_than_its_neighbours(scores: list[float]) -> None:
    wild = [*sorted(scores)[:-1], 1e9]
    assert interquartile_mean(wild) == pytest.approx(interquartile_mean(scores))


def test_a_bootstrap_of_equal_scores_has_no_width() -> None:
    assert bootstrap_interval([[0.5, 0.5], [0.5]], pooled_interquartile_mean, resamples=20) == (0.5, 0.5)


def test_the_bootstrap_draws_within_tasks() -> None:
    """The mean of one task of zeros and one of ones is a half whatever is drawn; over both together it would spread."""

    def mean(tasks: object) -> float:
        return float(np.concatenate(tasks).mean())  # type: ignore[call-overload]

    assert bootstrap_interval([[0.0] * 4, [1.0] * 4], mean, resamples=200) == (0.5, 0.5)
    low, high = bootstrap_interval([[0.0] * 4 + [1.0] * 4], mean, resamples=2000)
    # Of a binomial of 8 draws the percentiles 2.5 and 97.5 are 1 and 7 of 8.
    assert (low, high) == (0.125, 0.875)


def test_the_bootstrap_of_a_mean_is_that_of_the_normal_distribution() -> None:
    scores = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval([scores.tolist()], lambda tasks: float(tasks[0].mean()))
    spread = 1.96 * float(scores.std()) / math.sqrt(400)
    assert (low, high) == pytest.approx((scores.mean() - spread, scores.mean() + spread), abs=0.015)


@given(TASKS, st.randoms(use_true_random=False))
def test_the_order_of_the_runs_changes_no_interval(tasks: list[list[float]], shuffling: random.Random) -> None:
    before = bootstrap_interval(tasks, pooled_interquartile_mean, resamples=30)
    for task in tasks:
        shuffling.shuffle(task)
    assert bootstrap_interval(tasks, pooled_interquartile_mean, resamples=30) == before
    every = [score for task in tasks for score in task]
    assert min(every) <= before[0] <= before[1] <= max(every)


def test_a_profile_by_hand() -> None:
    """Each task counts alike, however many runs it has; a run at the threshold is not above it."""
    shares = performance_profile([[0.2, 0.4], [0.4, 0.6, 0.8, 1.0]], [0.0, 0.3, 0.4, 0.7, 1.0])
    assert shares.tolist() == [1.0, 0.75, 0.375, 0.25, 0.0]


@given(TASKS)
def test_profiles_fall_from_one_to_none(tasks: list[list[float]]) -> None:
    shares: Numbers = performance_profile(tasks, np.linspace(-0.1, 1.0, 12).tolist())
    assert shares[0] == 1.0 and shares[-1] == 0.0 and (np.diff(shares) <= 1e-12).all()


def test_the_band_of_a_profile_holds_it() -> None:
    """Four runs, of which two are above: the shares of samples go from 0 to 1 at the percentiles 2.5 and 97.5."""
    low, high = profile_band([[0.1, 0.2, 0.8, 0.9]], [0.0, 0.5, 0.95], resamples=1000)
    assert low.tolist() == [1.0, 0.0, 0.0] and high.tolist() == [1.0, 1.0, 0.0]
