"""Values against 50-digit arithmetic: the soft maximum, its closed form for binary returns, and its estimators."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exactness.estimators import binary_value, jackknife_value, shrunk_value

from turngym.trainers.stage_one.estimators import (
    grouped_log_mean_exp,
    leave_one_out_log_mean_exp,
    log_mean_exp,
)
from turngym.trainers.stage_one.instance_values import posterior_stds

BETAS = [1e-300, 1e-6, 1e-3, 0.02, 0.1, 0.5, 1.0, 30.0, 1e6, 1e12, 1e300]
returns_lists = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=12)
betas = st.floats(1e-6, 1e6)


def exact(returns: list[float], beta: float, weights: list[float] | None = None) -> float:
    weights = weights or [1.0] * len(returns)
    with mpmath.workdps(50 + max(0, round(math.log10(beta)) * 2)):
        terms = [w * mpmath.exp(mpmath.mpf(r) / mpmath.mpf(beta)) for r, w in zip(returns, weights, strict=True)]
        return float(mpmath.mpf(beta) * mpmath.log(mpmath.fsum(terms) / mpmath.fsum(weights)))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("returns", [[0.0, 1.0], [0.3], [0.1, 0.2, 0.7, 0.7], [-1.0, 1.0, 0.25], [1e-9, 0.0, 0.0]])
def test_equals_exact_arithmetic(returns: list[float], beta: float) -> None:
    assert log_mean_exp(returns, beta) == pytest.approx(exact(returns, beta), rel=1e-13, abs=1e-15)


@given(returns_lists, betas)
def test_equals_exact_arithmetic_everywhere(returns: list[float], beta: float) -> None:
    assert log_mean_exp(returns, beta) == pytest.approx(exact(returns, beta), rel=1e-12, abs=1e-13)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1, allow_subnormal=False), st.floats(0.5, 9.0))), betas)
def test_groups_equal_exact_arithmetic(drawn: list[tuple[int, float, float]], beta: float) -> None:
    drawn = [*drawn, *((group, 0.25, 1.0) for group in range(4))]
    groups, values, weights = zip(*drawn, strict=True)
    for group, value in enumerate(grouped_log_mean_exp(values, weights, groups, 4, beta)):
        own = [(v, w) for g, v, w in drawn if g == group]
        assert value == pytest.approx(exact([v for v, _ in own], beta, [w for _, w in own]), rel=1e-12, abs=1e-13)


def test_groups_in_the_limits() -> None:
    values, weights, groups = [0.0, 1.0, 0.5, 0.25], [1.0, 3.0, 1.0, 1.0], [0, 0, 1, 1]
    assert grouped_log_mean_exp(values, weights, groups, 2, 0.0).tolist() == [1.0, 0.5]
    assert grouped_log_mean_exp(values, weights, groups, 2, math.inf).tolist() == [0.75, 0.375]
    assert grouped_log_mean_exp([], [], np.zeros(0, np.int64), 0, 0.5).shape == (0,)


@given(returns_lists, betas, st.floats(-100, 100))
def test_moves_with_the_returns(returns: list[float], beta: float, shift: float) -> None:
    shifted = log_mean_exp(np.array(returns) + shift, beta)
    assert shifted == pytest.approx(log_mean_exp(returns, beta) + shift, abs=1e-11)


@given(returns_lists, betas, st.floats(1.0, 100.0))
def test_never_rises_with_the_temperature(returns: list[float], beta: float, factor: float) -> None:
    assert log_mean_exp(returns, beta * factor) <= log_mean_exp(returns, beta) + 1e-13


@given(returns_lists, betas)
def test_lies_between_mean_and_maximum(returns: list[float], beta: float) -> None:
    value = log_mean_exp(returns, beta)
    assert np.mean(returns) - 1e-13 <= value <= max(returns)
    assert value >= max(returns) - beta * math.log(len(returns)) - 1e-13


@given(returns_lists)
def test_limits_are_maximum_and_mean(returns: list[float]) -> None:
    assert log_mean_exp(returns, 0.0) == max(returns)
    assert log_mean_exp(returns, math.inf) == pytest.approx(np.mean(returns), abs=1e-15)
    assert log_mean_exp(returns, 1e-9) == pytest.approx(max(returns), abs=1e-8)
    assert log_mean_exp(returns, 1e9) == pytest.approx(np.mean(returns), abs=1e-8)


@pytest.mark.parametrize("p", [0.0, 1e-12, 0.02, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("beta", [1e-6, 1e-3, 0.1, 0.5, 10.0])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 3.0), (0.5, 0.5)])
def test_binary_closed_form(p: float, beta: float, low: float, high: float) -> None:
    assert binary_value(p, beta, low, high) == pytest.approx(exact([low, high], beta, [1 - p, p]), rel=1e-11, abs=1e-13)


def test_binary_golden_values() -> None:
    """The values at the paper's temperature, 0.5, for four success rates of the reference."""
    assert [round(binary_value(p, 0.5), 3) for p in (0.1, 0.2, 0.5, 0.9)] == [0.247, 0.412, 0.717, 0.955]
    assert binary_value(0.0, 0.02) == 0.0
    assert binary_value(0.0, 0.0) == 0.0
    assert binary_value(1e-9, 0.0) == 1.0
    assert binary_value(0.3, math.inf) == pytest.approx(0.3)


@pytest.mark.parametrize("beta", [1e-6, 0.02, 0.5, 5.0])
def test_log_mean_exp_of_binary_returns_is_the_closed_form(beta: float) -> None:
    assert log_mean_exp([1, 0, 0, 1, 0, 0, 0, 0], beta) == pytest.approx(binary_value(0.25, beta), abs=1e-14)


def test_leave_one_out_takes_the_maximum_of_the_others() -> None:
    """A sample's own return must not set the scale: the winner's baseline is what the three losers earned."""
    others = leave_one_out_log_mean_exp([1, 0, 0, 0], 0.01)
    assert others == pytest.approx([0.0] + [1.0 - 0.01 * math.log(3)] * 3, abs=1e-15)
    assert others[1] == pytest.approx(0.98901, abs=1e-5)


def test_jackknife_equals_the_formula_by_hand() -> None:
    beta, returns = 0.5, [1.0, 0.0, 0.0]
    plain = exact(returns, beta)
    others = [0.0, exact([1.0, 0.0], beta), exact([1.0, 0.0], beta)]
    assert jackknife_value(returns, beta) == pytest.approx(3 * plain - 2 * sum(others) / 3, abs=1e-14)
    assert jackknife_value([1.0, 0.0], 1e-3) == 1.0  # 1.998 before the cut


def error(estimate: Callable[[list[float], float], float], p: float, beta: float, count: int) -> tuple[float, float]:
    """Return bias and root mean square error of an estimate from so many binary returns, over all outcomes."""
    odds = [math.comb(count, wins) * p**wins * (1 - p) ** (count - wins) for wins in range(count + 1)]
    errors = np.array([estimate([1.0] * wins + [0.0] * (count - wins), beta) for wins in range(count + 1)])
    errors -= binary_value(p, beta)
    return float(odds @ errors), float(np.sqrt(odds @ errors**2))


def shrunk(returns: list[float], beta: float) -> float:
    """Return the value under the prior Beta(1/2, 1/2) of the success rate."""
    return shrunk_value(returns, beta, binary_value(0.5, beta), 1.0)


@pytest.mark.parametrize(
    ("beta", "p", "plain", "jackknife", "beta_prior"),
    [
        (0.5, 0.02, (-0.014, 0.112), (-0.004, 0.134), (0.125, 0.148)),
        (0.5, 0.1, (-0.040, 0.201), (-0.006, 0.222), (0.057, 0.159)),
        (0.5, 0.3, (-0.035, 0.199), (0.004, 0.190), (0.000, 0.160)),
        (0.5, 0.5, (-0.020, 0.151), (0.003, 0.137), (-0.016, 0.130)),
        (0.5, 0.9, (-0.003, 0.054), (0.000, 0.050), (-0.024, 0.055)),
        (0.1, 0.02, (-0.490, 0.566), (-0.461, 0.581), (0.119, 0.126)),
        (0.1, 0.1, (-0.304, 0.507), (-0.220, 0.528), (0.015, 0.069)),
        (0.1, 0.3, (-0.056, 0.217), (-0.002, 0.221), (-0.006, 0.056)),
        (0.1, 0.5, (-0.011, 0.071), (0.005, 0.065), (-0.006, 0.038)),
    ],
)
def test_errors_of_the_estimators(
    beta: float, p: float, plain: tuple[float, float], jackknife: tuple[float, float], beta_prior: tuple[float, float]
) -> None:
    """Golden values for eight returns: bias, and root mean square error."""
    found = [error(estimate, p, beta, 8) for estimate in (log_mean_exp, jackknife_value, shrunk)]
    np.testing.assert_allclose(found, [plain, jackknife, beta_prior], rtol=0, atol=6e-4)


def test_two_returns_are_too_few() -> None:
    assert error(log_mean_exp, 0.3, 0.5, 2) == pytest.approx((-0.144, 0.417), abs=5e-4)


def test_the_bias_of_many_returns_is_that_of_the_curvature() -> None:
    p, beta, count = 0.3, 0.5, 200
    odds = math.expm1(1 / beta)
    leading = -beta / (2 * count) * p * (1 - p) * odds**2 / (1 + p * odds) ** 2
    assert error(log_mean_exp, p, beta, count)[0] == pytest.approx(leading, rel=0.02)
    assert abs(error(jackknife_value, p, beta, count)[0]) < abs(leading) / 100


@pytest.mark.parametrize("wins", [0, 1, 4])
@pytest.mark.parametrize("beta", [0.02, 0.5])
def test_shrinkage_is_the_beta_posterior_for_binary_returns(wins: int, beta: float) -> None:
    strength, pool_rate = 1.5, 0.4
    posterior_rate = (wins + strength * pool_rate) / (4 + strength)
    value = shrunk_value([1.0] * wins + [0.0] * (4 - wins), beta, binary_value(pool_rate, beta), strength)
    assert value == pytest.approx(binary_value(posterior_rate, beta), abs=1e-13)


def test_shrinkage_of_graded_returns_averages_exponentials() -> None:
    beta, returns, prior = 0.3, [0.2, 0.9, 0.4], 0.6
    assert shrunk_value(returns, beta, prior, 2.0) == pytest.approx(
        exact([*returns, prior], beta, [1, 1, 1, 2]), abs=1e-14
    )


@given(returns_lists, st.floats(0.5, 50.0), st.floats(-1, 1))
def test_shrinkage_vanishes_without_strength(returns: list[float], beta: float, prior: float) -> None:
    assert shrunk_value(returns, beta, prior, 0.0) == log_mean_exp(returns, beta)
    assert shrunk_value(returns, beta, prior, 1e-12) == pytest.approx(log_mean_exp(returns, beta), abs=1e-9)


@pytest.mark.parametrize("beta", [0.1, 0.5, 20.0])
def test_posterior_std_is_that_of_the_beta_posterior(beta: float) -> None:
    """`beta E / (1 + p E) * sd(p)` with `E = exp(1 / beta) - 1`, for two instances with 1 and 3 of 4 wins."""
    strength = 2.0
    stds = posterior_stds([[1, 0, 0, 0], [1, 1, 1, 0]], np.ones((2, 4)), beta, strength)
    for std, wins in zip(stds, (1, 3), strict=True):
        p = (wins + strength * 0.5) / (4 + strength)
        p_std = math.sqrt(p * (1 - p) / (4 + strength + 1))
        odds = math.expm1(1 / beta)
        assert std == pytest.approx(beta * odds / (1 + p * odds) * p_std, rel=1e-10)
