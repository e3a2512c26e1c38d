"""Values of a pool of instances: V* of each, its posterior standard deviation, and which to sample next.

Shapes: I instances, N samples of one instance, K extra samples.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from turngym.trainers.stage_one.estimators import (
    Floats,
    Ints,
    check_strength,
    check_temperature,
    finite_returns,
    log_mean_exp,
    shrink,
    weighted_log_mean_exp,
)
from turngym.trainers.stage_one.prior import fitted_strength


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
    if check_temperature(beta) == 0.0:
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


def next_instances(
    counts_I: ArrayLike, stds_I: ArrayLike, k: int, max_samples: ArrayLike, strength: float = 1.0
) -> Ints:
    """Choose which instances to sample next: greedily the widest posterior, ties to the least sampled.

    A planned sample counts at once: it is expected to narrow the posterior by `sqrt((n + s) / (n + s + 1))` under a
    prior of strength `s`, so one call can hand out a whole batch and give an instance several samples.

    Args:
        counts_I: Samples so far.
        stds_I: Posterior standard deviations.
        k: How many samples to hand out.
        max_samples: Most samples of an instance, those of `counts_I` included: one number, or one for each.
        strength: Pseudo-samples given to the prior, at least 0.

    Returns:
        Positions in `counts_I`, in the order chosen, shape [K]; shorter than `k` where all instances are full.
    """
    check_strength(strength)
    counts = np.asarray(counts_I, np.int64)
    stds = np.asarray(stds_I, np.float64)
    if counts.shape != stds.shape or not np.isfinite(stds).all():
        raise ValueError("counts and stds must have the same shape, and every std must be finite")
    most = np.broadcast_to(np.asarray(max_samples, np.int64), counts.shape)
    heap = [(-float(stds[i]), int(counts[i]), int(i)) for i in np.flatnonzero(counts < most)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < k:
        width, count, position = heap[0]
        chosen.append(position)
        if count + 1 < most[position]:
            known = count + strength
            heapq.heapreplace(heap, (width * math.sqrt(known / (known + 1.0)), count + 1, position))
        else:
            heapq.heappop(heap)
    return np.array(chosen, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueEstimates:
    """The values of a pool of instances, in ascending order of instance."""

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
    strength: float = 0.0
    """How many samples the prior counted for in each value."""


NO_ESTIMATES = ValueEstimates(
    instances=np.empty(0, dtype=np.int64), values=np.empty(0), stds=np.empty(0), counts=np.empty(0, dtype=np.int64),
    prior=0.0,
)  # fmt: skip
"""The estimates of a run without stage 1."""


def estimate_values(
    returns: Mapping[int, Sequence[float]], beta: float, strength: float | None, reward_range: tuple[float, float]
) -> ValueEstimates:
    """Estimate V* of every instance, each shrunk towards the pool.

    In the pool every instance weighs the same, however often it was sampled: extra samples go where the value is
    uncertain, and weighing by samples would bend the pool towards hard instances.

    Args:
        returns: The returns of each instance's reference samples; none may be empty.
        beta: Temperature, as in `log_mean_exp`, in the unit of the returns.
        strength: Pseudo-samples by which an instance is shrunk towards the pool, at least 0; None fits them to the
            pool, as `fitted_strength` does.
        reward_range: Bounds of a return, as the environment declares them; a return outside is refused.

    Raises:
        ValueError: There are no returns, one is out of range, or an argument is.
    """
    check_temperature(beta)
    instances = sorted(returns)
    empty = [index for index in instances if len(returns[index]) == 0]
    if not instances or empty:
        raise ValueError(f"no reference returns for instances {empty[:5]}" if empty else "no reference returns at all")
    returns_IN, drawn_IN = _padded([finite_returns(returns[index]) for index in instances])
    _check_range(instances, returns_IN, reward_range)
    strength = fitted_strength(returns_IN, drawn_IN) if strength is None else strength
    check_strength(strength)
    counts_I = drawn_IN.sum(axis=1).astype(np.int64)
    plain_I = weighted_log_mean_exp(returns_IN, drawn_IN, beta)
    prior = log_mean_exp(plain_I, beta)
    return ValueEstimates(
        instances=np.array(instances, np.int64),
        values=shrink(plain_I, counts_I, prior, beta, strength),
        stds=posterior_stds(returns_IN, drawn_IN, beta, strength),
        counts=counts_I,
        prior=prior,
        strength=strength,
    )


def composed_beta(betas: Sequence[float]) -> float:
    """Return the temperature of one solve that leads where rounds at these temperatures lead: `1 / sum(1 / b_m)`.

    Args:
        betas: The temperature of each round, above 0; at least one.

    Raises:
        ValueError: There is no round, or a temperature is not a finite number above 0.
    """
    if not betas or not all(0.0 < beta < math.inf for beta in betas):
        raise ValueError(f"composing rounds needs the temperature of each, finite and above 0; got {list(betas)}")
    return 1.0 / math.fsum(1.0 / beta for beta in betas)


def composed_values(rounds: Sequence[ValueEstimates], betas: Sequence[float]) -> dict[int, float]:
    """Return V* of the first reference at `composed_beta(betas)` from the values of the rounds, by instance.

    It is their mean weighted by `1 / b_m`, exactly if each reference is the optimum of the round before at the
    temperature of that round: with `V_1 = b_1 log E_ref exp(Q_1 / b_1)` and the second reference
    `ref exp((Q_1 - V_1) / b_1)`, the mean `W = b (V_1 / b_1 + V_2 / b_2)` with `1 / b = 1 / b_1 + 1 / b_2` obeys the
    soft Bellman equation at `b`, with chance as without; and so on. Rounds that end short of their optimum, or beyond
    it, make it an approximation. Of the last round nothing is asked but its values at its temperature.

    Args:
        rounds: The values of each round at its own temperature, the first reference's first; at least one.
        betas: Those temperatures, in the unit of the values.

    Returns:
        The values of the instances that every round knows, in the unit of the returns, in ascending order of instance.

    Raises:
        ValueError: There is no round, or not one temperature, finite and above 0, for each.
    """
    total = composed_beta(betas)
    values = [dict(zip(known.instances.tolist(), known.values.tolist(), strict=True)) for known in rounds]
    pairs = list(zip(values, betas, strict=True))
    shared = sorted(set.intersection(*map(set, values)))
    return {index: total * math.fsum(known[index] / beta for known, beta in pairs) for index in shared}


def _padded(rows: list[Floats]) -> tuple[Floats, Floats]:
    """Pad rows with their own first value, so that no maximum changes; the second array marks what is real."""
    longest = max(len(row) for row in rows)
    padded = np.array([np.concatenate([row, np.full(longest - len(row), row[0])]) for row in rows])
    lengths = np.array([len(row) for row in rows])
    return padded, (np.arange(longest) < lengths[:, None]).astype(np.float64)


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
