"""Intervals of a success rate, also where several episodes are of one instance, and of means over few seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import cache
from math import cos, nan, pi, sin, sqrt, tan
from statistics import fmean, stdev, variance


def wilson_interval(successes: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Return the score interval of a proportion, which stays sensible at 0, at 1 and for few trials.

    Args:
        successes: How often it succeeded, in [0, n].
        n: Number of trials, effective ones too; without any the interval is (0, 1).
        z: Standard normal quantile; 1.96 gives 95%.

    Raises:
        ValueError: `successes` lies outside [0, n], or `z` is negative.

    Reference: E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in [0, n], got {successes} of {n}")
    if z < 0:
        raise ValueError(f"z must be at least 0, got {z}")
    if n == 0:
        return 0.0, 1.0
    rate, widening = successes / n, z * z / n
    center = (rate + widening / 2) / (1 + widening)
    margin = z * sqrt(rate * (1 - rate) / n + widening / (4 * n)) / (1 + widening)
    # Rounding may leave the exact ends 0 and 1 by one unit in the last place, and the rate outside its own interval.
    return min(rate, max(0.0, center - margin)), max(rate, min(1.0, center + margin))


def clustered_interval(outcomes: Sequence[bool], instances: Sequence[Hashable]) -> tuple[float, float]:
    """Return the 95% interval of a success rate over instances, of which some were played several times.

    It is Wilson's with the effective number of trials. Where every instance was played once, that is how many were
    played. Where an agent always does the same, 512 episodes of 48 instances say no more than 48.

    Args:
        outcomes: Whether each episode succeeded.
        instances: The instance of each episode; equal ones are the same instance.

    Example:
        >>> low, high = clustered_interval([True, False] * 256, [0, 1] * 256)
        >>> f"{low:.2f} {high:.2f}"
        '0.09 0.91'
    """
    trials, successes = effective_trials(outcomes, instances), sum(outcomes)
    return wilson_interval(trials if successes == len(outcomes) else trials * successes / len(outcomes), trials)


def effective_trials(outcomes: Sequence[bool], instances: Sequence[Hashable]) -> float:
    """Return how many independent trials episodes are worth: n / (1 + (m - 1) r), between 1 and n.

    n is the number of episodes, m the mean number of episodes of an instance, over the episodes, and r the intraclass
    correlation by analysis of variance, in [0, 1]: 1 where the episodes of an instance all end alike, 0 where the
    instance makes no difference. It is 0 where a single instance was played and its episodes differ, since nothing is
    known of others.

    Reference: L. Kish (1965), "Survey Sampling", section 5.4; the estimator of r is that of A. Donner (1986).
    """
    played: dict[Hashable, list[bool]] = defaultdict(list)
    for outcome, instance in zip(outcomes, instances, strict=True):
        played[instance].append(outcome)
    n = len(outcomes)
    if len(played) == n:
        return float(n)
    mean_size = sum(len(group) ** 2 for group in played.values()) / n
    return n / (1 + (mean_size - 1) * _intraclass_correlation(list(played.values())))


def _intraclass_correlation(groups: Sequence[Sequence[bool]]) -> float:
    """Return the correlation of two outcomes of one group, in [0, 1]; some group has two or more."""
    sizes, rates = [len(group) for group in groups], [sum(group) / len(group) for group in groups]
    n, k = sum(sizes), len(groups)
    within = sum(size * rate * (1 - rate) for size, rate in zip(sizes, rates, strict=True)) / (n - k)
    if within == 0:
        return 1.0
    if k == 1:
        return 0.0
    mean = sum(map(sum, groups)) / n
    between = sum(size * (rate - mean) ** 2 for size, rate in zip(sizes, rates, strict=True)) / (k - 1)
    usual_size = (n - sum(size**2 for size in sizes) / n) / (k - 1)
    return max(0.0, (between - within) / (between + (usual_size - 1) * within))


def mean_interval(values: Sequence[float], instances: Sequence[Hashable], most: float) -> tuple[float, float]:
    """Return the 95% interval of a mean of shares in [0, 1], one for each of some instances.

    It is Wilson's with the number of trials that would make the mean as uncertain as it is: m (1 - m) divided by the
    variance of the mean m. Where every share is 0 or 1 that is the number of instances.

    Args:
        values: A share for each instance; equal instances may stand there several times.
        instances: What tells them.
        most: How many trials they are worth at most, such as the number of episodes behind them.
    """
    n = len(values)
    if not n:
        return 0.0, 1.0
    mean = sum(values) / n
    variance = variance_of_mean(values, instances)
    spread = mean * (1 - mean)
    trials = min(most, spread / variance) if variance > 0 else most if 0 < mean < 1 else float(len({*instances}))
    return wilson_interval(min(mean, 1.0) * trials, trials)


def variance_of_mean(values: Sequence[float], instances: Sequence[Hashable]) -> float:
    """Return the variance of a mean over instances, of which what stands together counts as one draw."""
    mean = sum(values) / len(values)
    sums: dict[Hashable, float] = defaultdict(float)
    for value, instance in zip(values, instances, strict=True):
        sums[instance] += value - mean
    return sum(total**2 for total in sums.values()) / len(values) ** 2


def paired_difference(
    first: Sequence[float], second: Sequence[float], instances: Sequence[Hashable], most: float
) -> tuple[float, tuple[float, float]]:
    """Return how far one success rate is above another on the same instances, and the 95% interval of that.

    The intervals of both rates are put together with the correlation of their means, which is that of the rates over
    instances: agents that fail on the same instances are compared more sharply. The interval does not shrink to
    nothing where both succeed everywhere.

    Args:
        first: The success rate of one agent on each instance, in [0, 1].
        second: That of the other.
        instances: What tells the instances; equal ones may stand there several times.
        most: How many trials one agent's rates are worth at most: the number of its episodes.

    Example:
        >>> difference, (low, high) = paired_difference([1] * 9 + [0] * 3, [1] * 5 + [0] * 7, range(12), 12)
        >>> f"{difference:.3f} [{low:.3f}, {high:.3f}]"
        '0.333 [0.008, 0.567]'

    Reference: R. G. Newcombe (1998), "Improved confidence intervals for the difference between binomial proportions
    based on paired data", method 10, with the continuity correction of the correlation.
    """
    n = len(first)
    one, other = sum(first) / n, sum(second) / n
    (low_1, high_1), (low_2, high_2) = (mean_interval(rates, instances, most) for rates in (first, second))
    correlation = _correlation(first, second, len({*instances}))
    down, up = one - low_1, high_1 - one
    fall, rise = other - low_2, high_2 - other
    difference = one - other
    return difference, (difference - _combined(down, rise, correlation), difference + _combined(up, fall, correlation))


def _correlation(first: Sequence[float], second: Sequence[float], num_instances: int) -> float:
    """Return the correlation of two rates over instances, corrected towards 0; 0 where one of them is constant."""
    n = len(first)
    one, other = sum(first) / n, sum(second) / n
    pairs = list(zip(first, second, strict=True))
    together = sum((x - one) * (y - other) for x, y in pairs) / n
    spread = sqrt(sum((x - one) ** 2 for x, _ in pairs) * sum((y - other) ** 2 for _, y in pairs)) / n
    if together > 0:
        together = max(0.0, together - 1 / (2 * num_instances))
    return together / spread if spread else 0.0


def _combined(one: float, other: float, correlation: float) -> float:
    return sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


# Means over seeds ---------------------------------------------------------------------------------------------------


def student_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the mean of independent values, one per seed, and half the width of its interval by Student's t.

    Args:
        values: At least one; of a single one the half width is nan, since nothing is known of others.
        level: How often the interval holds the mean of all seeds, in (0, 1), where values are normally distributed.

    Example:
        >>> mean, half = student_interval([0.1, 0.2, 0.3, 0.4, 0.5])
        >>> f"{mean:.2f} +- {half:.3f}"
        '0.30 +- 0.196'
    """
    if len(values) < 2:
        return fmean(values), nan
    return fmean(values), student_quantile(0.5 + level / 2, len(values) - 1) * stdev(values) / sqrt(len(values))


def welch_interval(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return how much more the mean of the first is than that of the second, and half the width of its interval.

    The values are independent and need not be pairs, nor spread alike. The degrees of freedom are rounded down, which
    makes the interval a little wider. The half width is nan where one side has a single value.

    Reference: B. L. Welch (1947), "The generalization of 'Student's' problem when several different population
    variances are involved".
    """
    difference = fmean(first) - fmean(second)
    if min(len(first), len(second)) < 2:
        return difference, nan
    a, b = variance(first) / len(first), variance(second) / len(second)
    if a + b == 0:
        return difference, 0.0
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    # Rounding may leave a whole number by a little.
    return difference, student_quantile(0.5 + level / 2, max(1, int(freedom + 1e-9))) * sqrt(a + b)


@cache
def student_quantile(share: float, freedom: int) -> float:
    """Return below which number Student's t lies with a probability, by bisection of its distribution.

    Args:
        share: The probability, in (0, 1).
        freedom: Degrees of freedom, a whole number of at least 1.

    Raises:
        ValueError: One of them lies outside.
    """
    if not 0 < share < 1 or freedom < 1:
        raise ValueError(f"no quantile {share} of Student's t with {freedom} degrees of freedom")
    low, high = -pi / 2, pi / 2
    for _ in range(80):  # of the angle, which has both ends
        middle = (low + high) / 2
        low, high = (middle, high) if _student_share(middle, freedom) < share else (low, middle)
    return sqrt(freedom) * tan((low + high) / 2) if share != 0.5 else 0.0


def _student_share(angle: float, freedom: int) -> float:
    """Return the probability that Student's t lies below sqrt(freedom) * tan(angle).

    Reference: M. Abramowitz and I. A. Stegun (1964), "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.
    """
    square, odd = cos(angle) ** 2, freedom % 2
    term = total = 0.0 if freedom == 1 else cos(angle) if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    inside = 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
    return (1 + inside) / 2
