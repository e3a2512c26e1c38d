"""What several plays of the same instances are worth: pass@k, the best of k, and two agents on the same instances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

from turngym.agents.base import Instance
from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range, instances_of
from turngym.agents.intervals import clustered_interval, mean_interval, paired_difference, variance_of_mean
from turngym.arguments import Count, Index, checked_arguments

Z = 1.96
"""The standard normal quantile of 95%."""


def pass_at_k(samples: int, successes: int, k: int) -> float:
    """Return the probability that one of k samples succeeds, estimated without bias from at least as many.

    It is 1 - C(n - c, k) / C(n, k), as a product.

    Args:
        samples: n, how often the instance was played.
        successes: c, how often that succeeded.
        k: From 1 to n.

    Raises:
        ValueError: The numbers do not fit together.

    Reference: Chen et al., "Evaluating Large Language Models Trained on Code", arXiv:2107.03374, eq. (1).
    """
    if not (0 <= successes <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@k needs 0 <= successes <= samples and 1 <= k <= samples, got {successes} of {samples} "
                         f"and k = {k}")  # fmt: skip
    if samples - successes < k:
        return 1.0
    return 1.0 - prod(1.0 - k / number for number in range(samples - successes + 1, samples + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleScore:
    """What an agent reaches with several tries at each instance."""

    samples: int
    """K: how often every instance was played that counts here."""
    instances: int
    """How many instances count; those with an episode that ended in an error are left out."""
    pass_at: dict[int, tuple[float, tuple[float, float]]]
    """For each k from 1 to K the mean of pass@k over instances, and its 95% interval over instances."""
    best_return: float
    """Mean over instances of the largest task return of K."""
    best_interval: tuple[float, float]
    """Its 95% interval over instances, by the normal distribution."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by name, ready for JSON."""
        return {"samples": self.samples, "instances": self.instances, "best_return": self.best_return,
                "best_interval": list(self.best_interval),
                "pass_at": {str(k): [rate, *bounds] for k, (rate, bounds) in self.pass_at.items()}}  # fmt: skip


@checked_arguments
def sampled_instances(
    split: str, count: Index, first: Index = 0, *, samples: Count = 1, seed: Index = 0
) -> list[Instance]:
    """Return instances of a split, each so many times with different seeds.

    Args:
        split: As of `instance_range`.
        count: As of `instance_range`.
        first: As of `instance_range`.
        samples: How often each is played. One sample is what `instance_range` returns.
        seed: Shifts the chance of all of them.
    """
    return [instance for sample in range(samples)
            for instance in instance_range(split, count, first, seed=seed * samples + sample)]  # fmt: skip


def score_samples(episodes: Sequence[Episode], samples: int) -> SampleScore | None:
    """Return what K episodes of each instance come to; None where no instance has all of its episodes without error.

    Args:
        episodes: Finished episodes of one agent.
        samples: K.
    """
    whole = [group for group in _by_number(episodes).values() if len(group) == samples]
    if not whole:
        return None
    keys = _keys(whole)
    base, flat = len(whole) * samples, [episode for group in whole for episode in group]
    rates = {}
    for k in range(1, samples + 1):
        values = [pass_at_k(samples, sum(episode.success for episode in group), k) for group in whole]
        bounds = mean_interval(values, keys, base) if k > 1 else clustered_interval(
            [episode.success for episode in flat], [key for key in keys for _ in range(samples)]
        )  # fmt: skip
        rates[k] = (sum(values) / len(values), bounds)
    best = [max(episode.task_return for episode in group) for group in whole]
    mean, margin = _normal(best, keys)
    return SampleScore(samples=samples, instances=len(whole), pass_at=rates, best_return=mean,
                       best_interval=(mean - margin, mean + margin))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two agents on the same instances."""

    difference: float
    """Success rate of the first less that of the second."""
    interval: tuple[float, float]
    """Its 95% interval, paired over instances."""
    instances: int
    """How many instances both have played without error."""


def compare(first: Sequence[Episode], second: Sequence[Episode]) -> Comparison | None:
    """Return the difference in success of two agents; None where no instance was played by both without error.

    Args:
        first: Episodes of one agent.
        second: Those of another on the same instances.
    """
    ours, theirs = _by_number(first), _by_number(second)
    both = [number for number in ours if number in theirs]
    if not both:
        return None
    rates = [[sum(episode.success for episode in played[number]) / len(played[number]) for number in both]
             for played in (ours, theirs)]  # fmt: skip
    keys = _keys([ours[number] for number in both])
    most = min(sum(len(played[number]) for number in both) for played in (ours, theirs))
    difference, interval = paired_difference(rates[0], rates[1], keys, most)
    return Comparison(difference=difference, interval=interval, instances=len({*keys}))


def _by_number(episodes: Sequence[Episode]) -> dict[tuple[str, int], list[Episode]]:
    """Return the episodes without error of each instance."""
    groups: dict[tuple[str, int], list[Episode]] = defaultdict(list)
    for episode in episodes:
        if not episode.status.is_error():
            groups[episode.split, episode.index].append(episode)
    return groups


def _keys(groups: Sequence[Sequence[Episode]]) -> list[Hashable]:
    """Return what tells the instance of each group: numbers of one family may mean the same instance."""
    return instances_of([group[0] for group in groups])


def _normal(values: Sequence[float], instances: Sequence[Hashable]) -> tuple[float, float]:
    """Return a mean over instances and half the width of its 95% interval; 0 wide for a single instance."""
    mean, n = sum(values) / len(values), len({*instances})
    return mean, Z * sqrt(variance_of_mean(values, instances) * n / (n - 1)) if n > 1 else 0.0
