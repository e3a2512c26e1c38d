"""Estimators of the optimal value V* of an instance from returns of the frozen reference policy.

    V*(x) = beta * log E_ref[exp(R / beta)]        Reference: arXiv:2505.20686, stage 1 (beta is its beta_1)

`beta` has the unit of the returns. `beta = 0` means the largest return and `beta = inf` the mean, as modes of their
own; between them `exp(1 / beta)` is never formed, so every positive `beta` is safe. All numbers are float64.

Shapes: I instances, N samples of one instance; P numbers in G groups.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def log_mean_exp(returns_N: ArrayLike, beta: float) -> float:
    """Return `beta * log(mean(exp(returns / beta)))`, which lies between the mean and the largest return.

    Args:
        returns_N: At least one finite number.
        beta: Temperature, at least 0; 0 gives the largest return, infinity the mean.

    Raises:
        ValueError: `beta` is negative or no number, or a return is missing or not finite.
    """
    returns = finite_returns(returns_N)
    return float(weighted_log_mean_exp(returns, np.ones_like(returns), check_temperature(beta)))


def grouped_log_mean_exp(
    values_P: ArrayLike, weights_P: ArrayLike, group_P: ArrayLike, groups: int, beta: float
) -> Floats:
    """Return the weighted `log_mean_exp` of each of many groups of numbers.

    Args:
        values_P: The numbers of all groups, in any order.
        weights_P: How often each number counts, above 0.
        group_P: The group of each number, from 0 to `groups - 1`; every group has one.
        groups: How many groups there are, G.
        beta: Temperature, as in `log_mean_exp`.

    Returns:
        One value per group, shape [G].

    Raises:
        ValueError: `beta` is negative or no number.
    """
    values, weights, group = np.asarray(values_P, np.float64), np.asarray(weights_P, np.float64), np.asarray(group_P)
    largest_G = np.full(groups, -np.inf)
    np.maximum.at(largest_G, group, values)
    if check_temperature(beta) == 0.0:
        return largest_G

    def mean(x_P: Floats) -> Floats:
        return np.bincount(group, x_P * weights, groups) / np.bincount(group, weights, groups)

    if math.isinf(beta):
        return mean(values)
    with np.errstate(under="ignore", over="ignore"):
        scaled_P = (values - largest_G[group]) / beta
        return largest_G + beta * _log_of_mean(mean(np.exp(scaled_P)), mean(np.expm1(scaled_P)))


def leave_one_out_log_mean_exp(returns_N: ArrayLike, beta: float) -> Floats:
    """Return for each sample the `log_mean_exp` of all others, a baseline that does not depend on the sample itself.

    Args:
        returns_N: At least two finite numbers.
        beta: Temperature, as in `log_mean_exp`.

    Returns:
        One value per sample, shape [N].

    Raises:
        ValueError: As in `log_mean_exp`, or there is only one return.
    """
    returns = finite_returns(returns_N)
    if len(returns) < 2:
        raise ValueError("leaving one out needs at least two returns")
    others = np.array([np.delete(returns, i) for i in range(len(returns))])
    return weighted_log_mean_exp(others, np.ones_like(others), check_temperature(beta))


def weighted_log_mean_exp(values: Floats, weights: Floats, beta: float) -> Floats:
    """Return the `log_mean_exp` over the last axis, each value weighted; one of weight 0 must not exceed the others."""
    largest = values.max(axis=-1)
    if beta == 0.0:
        return np.asarray(largest)
    total = weights.sum(axis=-1)
    if math.isinf(beta):
        return np.asarray((values * weights).sum(axis=-1) / total)
    # The maximum is taken out, so nothing overflows.
    with np.errstate(under="ignore", over="ignore"):
        scaled = (values - largest[..., None]) / beta
        mean = (np.exp(scaled) * weights).sum(axis=-1) / total
        excess = (np.expm1(scaled) * weights).sum(axis=-1) / total
    return np.asarray(largest + beta * _log_of_mean(mean, excess))


def _log_of_mean(mean: Floats, excess: Floats) -> Floats:
    """Return the logarithm of a mean in (0, 1], of which `excess` is the distance to 1 with its digits.

    Each of the two forms is exact where the other loses digits: around 1, where beta is large, and near 0, where little
    weight lies on the maximum.
    """
    return np.where(mean > 0.5, np.log1p(np.maximum(excess, -0.75)), np.log(mean))


def shrink(plain_I: Floats, counts_I: Ints, prior: float, beta: float, strength: float) -> Floats:
    """Average `exp(V / beta)` of instance and pool, weighted by samples and pseudo-samples."""
    if strength == 0.0:
        return plain_I
    values = np.stack([plain_I, np.full_like(plain_I, prior)], axis=-1)
    weights = np.stack([counts_I.astype(np.float64), np.full_like(plain_I, strength)], axis=-1)
    return weighted_log_mean_exp(values, weights, beta)


def finite_returns(returns: ArrayLike) -> Floats:
    """Return the returns of an instance as an array.

    Raises:
        ValueError: There are none, or one is not finite.
    """
    array = np.asarray(returns, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"returns must be a non-empty list of finite numbers, got {returns!r}")
    return array


def check_temperature(beta: float) -> float:
    """Check a temperature and return it.

    Raises:
        ValueError: It is negative or no number.
    """
    if not beta >= 0.0:
        raise ValueError(f"beta must be at least 0, got {beta}")
    return beta


def check_strength(strength: float) -> None:
    """Check a number of pseudo-samples.

    Raises:
        ValueError: `strength` is negative or not finite.
    """
    if not 0.0 <= strength < math.inf:
        raise ValueError(f"strength must be at least 0 and finite, got {strength}")
