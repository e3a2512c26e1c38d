"""Aggregates over runs of several tasks: interquartile mean, stratified bootstrap, performance profile.

Reference: R. Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
arXiv:2108.13264.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
RESAMPLES = 2000
"""Bootstrap samples of an interval."""


def interquartile_mean(scores: Sequence[float]) -> float:
    """Return the mean of the middle half of some numbers: a quarter of them, rounded down, is left out at each end.

    Of fewer than four it is their mean.

    Args:
        scores: At least one; those of all runs of all tasks together, as section 4.3 of the paper has it.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    cut = len(ordered) // 4
    middle = ordered[cut : len(ordered) - cut]
    # Rounding may leave the numbers by one unit in the last place.
    return float(min(max(middle.mean(), middle[0]), middle[-1]))


def pooled_interquartile_mean(tasks: Sequence[Numbers]) -> float:
    """Return the interquartile mean of the runs of all tasks together."""
    return interquartile_mean(np.concatenate(tasks).tolist())


def bootstrap_interval(
    tasks: Sequence[Sequence[float]], statistic: Callable[[Sequence[Numbers]], float], *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95% interval of a statistic by the stratified bootstrap: runs are drawn anew within each task.

    The ends are percentiles (section 4.1 and appendix A.3 of the paper). The order of the runs changes nothing.

    Args:
        tasks: The numbers of the runs of each task.
        statistic: From the runs of each task to a number.
        resamples: How many samples are drawn, the same ones every time.
    """
    low, high = np.percentile([statistic(sample) for sample in _samples(tasks, resamples)], [2.5, 97.5])
    return float(low), float(high)


def profile_band(
    tasks: Sequence[Sequence[float]], thresholds: Sequence[float], *, resamples: int = RESAMPLES
) -> tuple[Numbers, Numbers]:
    """Return the ends of the 95% intervals of a performance profile at each threshold, by the same bootstrap."""
    profiles = [performance_profile(sample, thresholds) for sample in _samples(tasks, resamples)]
    low, high = np.percentile(profiles, [2.5, 97.5], axis=0)
    return low, high


def _samples(tasks: Sequence[Sequence[float]], resamples: int) -> Iterator[list[Numbers]]:
    """Yield samples: of each task as many runs as it has, drawn with repetition."""
    rng = np.random.default_rng(0)
    drawn = []
    for task in tasks:
        ordered = np.sort(np.asarray(task, dtype=np.float64))
        drawn.append(ordered[rng.integers(len(ordered), size=(resamples, len(ordered)))])
    for number in range(resamples):
        yield [task[number] for task in drawn]


def performance_profile(tasks: Sequence[Sequence[float] | Numbers], thresholds: Sequence[float]) -> Numbers:
    """Return which share of the runs is above each threshold, a mean over tasks of the shares of their runs.

    Args:
        tasks: The numbers of the runs of each task, at least one of each.
        thresholds: Numbers to be above.

    Returns:
        Shares in [0, 1], one for each threshold; they never rise (equation 2 of the paper).
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    shares = [(np.asarray(task, dtype=np.float64)[:, None] > limits).mean(axis=0) for task in tasks]
    mean: Numbers = np.mean(shares, axis=0)
    return mean
