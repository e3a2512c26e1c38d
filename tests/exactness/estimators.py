"""Values that the estimators of stage 1 are compared with: the exact one of a coin, and the jackknife."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from turngym.trainers.stage_one.estimators import (
    leave_one_out_log_mean_exp,
    log_mean_exp,
    shrink,
    weighted_log_mean_exp,
)


def binary_value(p: float, beta: float, low: float = 0.0, high: float = 1.0) -> float:
    """Return V* of a task that pays `high` with reference probability `p` and `low` otherwise.

    Args:
        p: Success probability of the reference policy, in [0, 1].
        beta: Temperature, as in `log_mean_exp`.
        low: Return of a failure.
        high: Return of a success, at least `low`.
    """
    outcomes, odds = np.array([low, high]), np.array([1.0 - p, p])
    possible = odds > 0
    return float(weighted_log_mean_exp(outcomes[possible], odds[possible], beta))


def jackknife_value(returns_N: ArrayLike, beta: float, low: float = 0.0, high: float = 1.0) -> float:
    """Return the jackknife estimate of V*, free of the bias of order 1/N, cut off at the reward range.

    It trades bias for noise; `shrunk_value` has the smaller error.

    Args:
        returns_N: At least two finite numbers.
        beta: Temperature, as in `log_mean_exp`.
        low: Least possible return.
        high: Largest possible return.
    """
    others_N = leave_one_out_log_mean_exp(returns_N, beta)
    count = len(others_N)
    return float(np.clip(count * log_mean_exp(returns_N, beta) - (count - 1) * others_N.mean(), low, high))


def shrunk_value(returns_N: ArrayLike, beta: float, prior: float, strength: float) -> float:
    """Return V* of one instance with the mean of `exp(R / beta)` shrunk towards that of the pool, as stage 1 does.

    For returns of 0 and 1 this is V* at the posterior mean of the success probability under a Beta prior of `strength`
    pseudo-samples.

    Args:
        returns_N: The instance's returns, at least one.
        beta: Temperature, as in `log_mean_exp`.
        prior: The pool's value at the same temperature.
        strength: Pseudo-samples given to the prior, at least 0; 0 gives `log_mean_exp`.
    """
    plain = np.array([log_mean_exp(returns_N, beta)])
    return float(shrink(plain, np.array([np.size(returns_N)]), prior, beta, strength)[0])
