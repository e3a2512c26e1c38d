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
