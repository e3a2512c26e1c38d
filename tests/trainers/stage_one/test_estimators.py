"""What the estimators of V* refuse; their numbers are checked in tests/exactness/test_log_mean_exp.py."""

from __future__ import annotations

import math

import pytest

from turngym.trainers.stage_one.estimators import (
    leave_one_out_log_mean_exp,
    log_mean_exp,
)
from turngym.trainers.stage_one.instance_values import estimate_values

UNIT = (0.0, 1.0)


@pytest.mark.parametrize("returns", [[], [math.nan], [1.0, math.inf], [[1.0], [0.0]]])
def test_unusable_returns_are_refused(returns: list[float]) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        log_mean_exp(returns, 0.5)


@pytest.mark.parametrize("beta", [-1e-9, -math.inf, math.nan])
def test_unusable_temperatures_are_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be at least 0"):
        log_mean_exp([1.0], beta)
    with pytest.raises(ValueError, match="beta must be at least 0"):
        estimate_values({0: [1.0]}, beta, 1.0, UNIT)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="two returns"):
        leave_one_out_log_mean_exp([1.0], 0.5)
    for strength in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="strength must be at least 0 and finite"):
            estimate_values({0: [1.0]}, 0.5, strength, UNIT)
