"""The fitted strength of the prior: how far the instances of a pool are alike."""

from __future__ import annotations

import math

import numpy as np
import pytest

from turngym.trainers.stage_one.estimators import Floats
from turngym.trainers.stage_one.prior import CANDIDATES_K, UNKNOWN, fitted_strength


def fitted(returns: list[list[float]]) -> float:
    """Return the strength fitted to instances of unequal numbers of samples."""
    longest = max(map(len, returns))
    padded = np.array([row + [7.0] * (longest - len(row)) for row in returns])
    return fitted_strength(padded, np.array([[k < len(row) for k in range(longest)] for row in returns], float))


def sampled(shape: float, seed: int, counts: list[int]) -> list[list[float]]:
    """Return wins and losses of 512 instances whose success rates are drawn from Beta(shape, shape)."""
    rng = np.random.default_rng(seed)
    return [rng.binomial(1, rng.beta(shape, shape), counts[i % len(counts)]).astype(float).tolist() for i in range(512)]


@pytest.mark.parametrize("counts", [[4], [1, 2, 4, 16]])
@pytest.mark.parametrize(("shape", "factor"), [(0.3, 1.5), (1.0, 1.5), (5.0, 1.6), (20.0, 3.0)])
def test_the_strength_of_a_beta_prior_is_recovered(shape: float, factor: float, counts: list[int]) -> None:
    found = np.median([fitted(sampled(shape, seed, counts)) for seed in range(9)])
    assert 2 * shape / factor < found < 2 * shape * factor


def test_it_is_the_mode_of_the_beta_binomial_posterior() -> None:
    returns = sampled(5.0, 0, [2, 3, 9])
    rate = np.mean([np.mean(row) for row in returns])

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    def posterior(kappa: float) -> float:
        a, b = kappa * rate, kappa * (1 - rate)
        likelihood = sum(log_beta(a + sum(row), b + len(row) - sum(row)) - log_beta(a, b) for row in returns)
        return likelihood + math.log(kappa / (1 + kappa) ** 2)

    assert fitted(returns) == max(CANDIDATES_K.tolist(), key=posterior)


@pytest.mark.parametrize("kappa", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("levels", [5, 30])
def test_graded_returns(kappa: float, levels: int) -> None:
    """Whether there are few values or many, which are told apart at the median."""
    rng = np.random.default_rng(0)
    law = np.full(levels, 1 / levels)

    def pool() -> Floats:
        return np.array([rng.choice(np.linspace(-1, 3, levels), 4, p=rng.dirichlet(kappa * law)) for _ in range(512)])

    found = np.median([fitted(pool().tolist()) for _ in range(5)])
    assert kappa / 1.6 < found < 1.6 * kappa


def test_distinct_returns_tell_by_the_half_of_the_pool_that_they_lie_in() -> None:
    rng = np.random.default_rng(0)
    alike: Floats = rng.normal(size=(256, 4))
    apart = alike + 5.0 * rng.normal(size=(256, 1))
    assert fitted(alike.tolist()) > 20.0
    assert fitted(apart.tolist()) < 1.0
    # However often one was sampled, it is one of 257 when it comes to the median.
    assert fitted([*apart.tolist(), rng.uniform(20, 30, 9999).tolist()]) == fitted(apart.tolist())


@pytest.mark.parametrize("failing", [0.5, 1.2])
def test_many_failures_that_are_all_the_same_and_successes_of_which_no_two_are(failing: float) -> None:
    rng = np.random.default_rng(0)
    rate = rng.beta(0.5, failing, (512, 1))
    returns = np.where(rng.random((512, 4)) < rate, 1.0 + rng.random((512, 4)), 0.0)
    assert (0.5 + failing) / 1.6 < fitted(returns.tolist()) < 1.6 * (0.5 + failing)


def test_the_last_digits_of_a_sum_make_no_difference() -> None:
    returns = sampled(5.0, 1, [4])
    assert fitted([[0.1 * value + 1e-12 * k for k, value in enumerate(row)] for row in returns]) == fitted(returns)


@pytest.mark.parametrize(
    "returns",
    [
        [[0.0, 1.0, 1.0]],
        [[0.0], [1.0], [1.0]],
        [[0.5, 0.5], [0.5, 0.5, 0.5]],
    ],
    ids=["one instance", "one sample each", "all returns equal"],
)
def test_a_pool_that_does_not_tell(returns: list[list[float]]) -> None:
    assert fitted(returns) == UNKNOWN


def test_few_instances_that_look_alike_say_little() -> None:
    """The likelihood of each is highest at infinity; it takes many of them to believe it."""
    few, some, many = (fitted([[0.0, 1.0], [1.0, 0.0]] * pairs) for pairs in (1, 9, 999))
    assert UNKNOWN < few < 4.0 < some < 100.0 < many <= 1000.0
    assert fitted([[0.0, 0.0], [1.0, 1.0]] * 99) == pytest.approx(0.1)
