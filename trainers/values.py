"""Stage 1: the optimal value of each instance, estimated from returns of the frozen reference policy.

    V*(x) = beta * log E_ref[exp(R / beta)]        Reference: arXiv:2505.20686, section 3 (beta is its beta_1)

`beta` has the unit of the returns. `beta = 0` means the largest return and `beta = inf` the mean, as modes of their
own; between them `exp(1 / beta)` is never formed, so every positive `beta` is safe. All numbers are float64.

Shapes: I instances, N samples of one instance, K extra samples; P numbers in G groups.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def log_mean_exp(returns_N: ArrayLike, beta: float) -> float:
    """Return `beta * log(mean(exp(returns / beta)))`, which lies between the mean and the largest return.

    Args:
        returns_N: At least one finite number.
        beta: Temperature, at least 0; 0 gives the largest return, infinity the mean.

    Raises:
        ValueError: `beta` is negative or no number, or a return is missing or not finite.
    """
    returns = _finite(returns_N)
    return float(_weighted_log_mean_exp(returns, np.ones_like(returns), _temperature(beta)))


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
    if _temperature(beta) == 0.0:
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
    returns = _finite(returns_N)
    if len(returns) < 2:
        raise ValueError("leaving one out needs at least two returns")
    others = np.array([np.delete(returns, i) for i in range(len(returns))])
    return _weighted_log_mean_exp(others, np.ones_like(others), _temperature(beta))


def jackknife_value(returns_N: ArrayLike, beta: float, low: float = 0.0, high: float = 1.0) -> float:
    """Return the jackknife estimate of V*, free of the bias of order 1/N, cut off at the reward range.

    It trades bias for noise; `shrunk_value` has the smaller error and is what stage 1 uses.

    Args:
        returns_N: At least two finite numbers.
        beta: Temperature, as in `log_mean_exp`.
        low: Least possible return.
        high: Largest possible return.

    Raises:
        ValueError: As in `leave_one_out_log_mean_exp`.
    """
    others_N = leave_one_out_log_mean_exp(returns_N, beta)
    count = len(others_N)
    return float(np.clip(count * log_mean_exp(returns_N, beta) - (count - 1) * others_N.mean(), low, high))


def binary_value(p: float, beta: float, low: float = 0.0, high: float = 1.0) -> float:
    """Return V* of a task that pays `high` with reference probability `p` and `low` otherwise.

    Args:
        p: Success probability of the reference policy, in [0, 1].
        beta: Temperature, as in `log_mean_exp`.
        low: Return of a failure.
        high: Return of a success, at least `low`.

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0.0 <= p <= 1.0 or not -math.inf < low <= high < math.inf:
        raise ValueError(f"need 0 <= p <= 1 and finite low <= high, got p={p}, low={low}, high={high}")
    outcomes, odds = np.array([low, high]), np.array([1.0 - p, p])
    possible = odds > 0
    return float(_weighted_log_mean_exp(outcomes[possible], odds[possible], _temperature(beta)))


def shrunk_value(returns_N: ArrayLike, beta: float, prior: float, strength: float) -> float:
    """Return V* with the mean of `exp(R / beta)` shrunk towards that of the pool.

    For returns of 0 and 1 this is exactly V* at the posterior mean of the success probability under a Beta prior of
    `strength` pseudo-samples. It rescues instances whose few samples all failed.

    Args:
        returns_N: The instance's returns; may be empty when `strength` is positive.
        beta: Temperature, as in `log_mean_exp`.
        prior: The pool's value at the same temperature (`ValueEstimates.prior`).
        strength: Pseudo-samples given to the prior, at least 0; 0 gives `log_mean_exp`.

    Raises:
        ValueError: An argument is out of range, or there is neither a return nor a prior.
    """
    count = np.size(returns_N)
    _temperature(beta)
    check_strength(strength)
    if count == 0 and strength > 0:
        return float(prior)
    plain = np.array([log_mean_exp(returns_N, beta)])
    return float(_shrink(plain, np.array([count]), float(prior), beta, strength)[0])


def posterior_stds(returns_IN: ArrayLike, drawn_IN: ArrayLike, beta: float, strength: float) -> Floats:
    """Return how uncertain each instance's shrunk value is, to first order.

    The law of an instance's return has a Dirichlet process prior of weight `strength` around the law of the pool, so
    the posterior mean of `Z = exp(R / beta)` has variance `(E[Z^2] - E[Z]^2) / (N + strength + 1)`; for two possible
    returns that is the Beta posterior. The value's slope, `beta / E[Z]`, carries it over.

    Args:
        returns_IN: Returns of each instance, padded to the longest with any finite number.
        drawn_IN: 1 where a return was drawn, 0 where it is padding; every row has a 1.
        beta: Temperature, as in `log_mean_exp`. At 0 every standard deviation is 0.
        strength: Pseudo-samples given to the prior, at least 0.

    Returns:
        Standard deviations in the unit of the returns, shape [I].
    """
    check_strength(strength)
    drawn = np.asarray(drawn_IN, np.float64)
    returns = np.asarray(returns_IN, np.float64)
    best = returns[drawn > 0].max()
    returns = np.where(drawn > 0, returns, best)
    if _temperature(beta) == 0.0:
        return np.zeros(len(returns))
    counts = drawn.sum(axis=1)

    def posterior_mean(x_IN: Floats) -> Floats:
        sums = (x_IN * drawn).sum(axis=1)
        pooled = float((sums / counts).mean())
        return np.asarray((sums + strength * pooled) / (counts + strength))

    # Z - 1 has the spread of Z and keeps its digits where beta is large.
    with np.errstate(under="ignore", over="ignore"):
        z_IN = returns if math.isinf(beta) else np.expm1((returns - best) / beta)
    mean_I = posterior_mean(z_IN)
    std_I = np.sqrt(np.maximum(posterior_mean(z_IN**2) - mean_I**2, 0.0) / (counts + strength + 1.0))
    if math.isinf(beta):
        return np.asarray(std_I)
    # Without a prior, returns far below the best leave Z = 0 and no spread that could matter at this temperature.
    return np.asarray(np.divide(beta * std_I, 1.0 + mean_I, out=np.zeros_like(std_I), where=mean_I > -1.0))


def next_instances(counts_I: ArrayLike, stds_I: ArrayLike, k: int, max_samples: int) -> Ints:
    """Choose which instances to sample next: greedily the widest posterior, ties to the least sampled.

    A planned sample counts at once: it is expected to narrow the posterior by `sqrt((n + 1) / (n + 2))`, so one call
    can hand out a whole batch and give an instance several samples.

    Args:
        counts_I: Samples so far.
        stds_I: Posterior standard deviations.
        k: How many samples to hand out.
        max_samples: Most samples of one instance, those of `counts_I` included.

    Returns:
        Positions in `counts_I`, in the order chosen, shape [K]; shorter than `k` where all instances are full.
    """
    counts = np.asarray(counts_I, np.int64)
    stds = np.asarray(stds_I, np.float64)
    if counts.shape != stds.shape or not np.isfinite(stds).all():
        raise ValueError("counts and stds must have the same shape, and every std must be finite")
    heap = [(-float(stds[i]), int(counts[i]), int(i)) for i in np.flatnonzero(counts < max_samples)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < k:
        width, count, position = heap[0]
        chosen.append(position)
        if count + 1 < max_samples:
            heapq.heapreplace(heap, (width * math.sqrt((count + 1) / (count + 2)), count + 1, position))
        else:
            heapq.heappop(heap)
    return np.array(chosen, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueEstimates:
    """What stage 1 knows of a pool of instances, in ascending order of instance."""

    instances: Ints  # [I]
    """Indices of the instances within their split."""
    values: Floats  # [I]
    """Shrunk estimates of V*, in the unit of the returns."""
    stds: Floats  # [I]
    """Posterior standard deviations of `values`."""
    counts: Ints  # [I]
    """Reference samples behind each value."""
    prior: float
    """V* of the pool, the best guess for an instance that was never sampled."""


NO_ESTIMATES = ValueEstimates(
    instances=np.empty(0, dtype=np.int64), values=np.empty(0), stds=np.empty(0), counts=np.empty(0, dtype=np.int64),
    prior=0.0,
)  # fmt: skip
"""What is known where stage 1 is passed over."""


def estimate_values(
    returns: Mapping[int, Sequence[float]], beta: float, strength: float, reward_range: tuple[float, float]
) -> ValueEstimates:
    """Estimate V* of every instance, each shrunk towards the pool.

    In the pool every instance weighs the same, however often it was sampled: extra samples go where the value is
    uncertain, and weighing by samples would bend the pool towards hard instances.

    Args:
        returns: The returns of each instance's reference samples; none may be empty.
        beta: Temperature, as in `log_mean_exp`, in the unit of the returns.
        strength: Pseudo-samples by which an instance is shrunk towards the pool, at least 0.
        reward_range: Bounds of a return, as the environment declares them; a return outside is refused.

    Raises:
        ValueError: There are no returns, one is out of range, or an argument is.
    """
    _temperature(beta)
    check_strength(strength)
    instances = sorted(returns)
    empty = [index for index in instances if len(returns[index]) == 0]
    if not instances or empty:
        raise ValueError(f"no reference returns for instances {empty[:5]}" if empty else "no reference returns at all")
    returns_IN, drawn_IN = _padded([_finite(returns[index]) for index in instances])
    _check_range(instances, returns_IN, reward_range)
    counts_I = drawn_IN.sum(axis=1).astype(np.int64)
    plain_I = _weighted_log_mean_exp(returns_IN, drawn_IN, beta)
    prior = log_mean_exp(plain_I, beta)
    return ValueEstimates(
        instances=np.array(instances, np.int64),
        values=_shrink(plain_I, counts_I, prior, beta, strength),
        stds=posterior_stds(returns_IN, drawn_IN, beta, strength),
        counts=counts_I,
        prior=prior,
    )


def _weighted_log_mean_exp(values: Floats, weights: Floats, beta: float) -> Floats:
    """Over the last axis; a value of weight 0 must not exceed the others."""
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


def _shrink(plain_I: Floats, counts_I: Ints, prior: float, beta: float, strength: float) -> Floats:
    """Average `exp(V / beta)` of instance and pool, weighted by samples and pseudo-samples."""
    if strength == 0.0:
        return plain_I
    values = np.stack([plain_I, np.full_like(plain_I, prior)], axis=-1)
    weights = np.stack([counts_I.astype(np.float64), np.full_like(plain_I, strength)], axis=-1)
    return _weighted_log_mean_exp(values, weights, beta)


def _padded(rows: list[Floats]) -> tuple[Floats, Floats]:
    """Pad rows with their own first value, so that no maximum changes; the second array marks what is real."""
    longest = max(len(row) for row in rows)
    padded = np.array([np.concatenate([row, np.full(longest - len(row), row[0])]) for row in rows])
    lengths = np.array([len(row) for row in rows])
    return padded, (np.arange(longest) < lengths[:, None]).astype(np.float64)


def _finite(returns: ArrayLike) -> Floats:
    array = np.asarray(returns, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"returns must be a non-empty list of finite numbers, got {returns!r}")
    return array


def _temperature(beta: float) -> float:
    if not beta >= 0.0:
        raise ValueError(f"beta must be at least 0, got {beta}")
    return beta


def check_strength(strength: float) -> None:
    """Refuse a number of pseudo-samples that cannot be used.

    Raises:
        ValueError: `strength` is negative or not finite.
    """
    if not 0.0 <= strength < math.inf:
        raise ValueError(f"strength must be at least 0 and finite, got {strength}")


def _check_range(instances: list[int], returns_IN: Floats, reward_range: tuple[float, float]) -> None:
    low, high = reward_range
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    outside = ((returns_IN < low - slack) | (returns_IN > high + slack)).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"instance {instances[row]} has returns between {returns_IN[row].min():g} and {returns_IN[row].max():g}, "
            f"outside the reward range {low:g} to {high:g}; pass the range of the reward that the samples were paid"
        )
