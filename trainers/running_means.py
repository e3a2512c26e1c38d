"""Running means of instances that follow a policy: each instance's own mean, shrunk towards that of the pool.

Old episodes fade. The mean of the pool moves with the policy and counts for one episode in every estimate, so an
instance that is seldom played does not keep the value that it had for a weaker policy:

    value(x) = (n_x * mean_x + pool) / (n_x + 1)

Example: an instance won in all of n_x = 4 episodes, in a pool whose mean is 0.5, has (4 * 1 + 0.5) / (4 + 1) = 0.9.

An instance that stage 1 has not sampled has the mean of the pool and no mean of its own: fresh instances are played
once, so memory does not grow with the run. Those that self-play keeps are tracked from then on. Every easier level of a
curriculum has a pool of its own, and so has the proposer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from turngym.envs.written import WRITTEN_INSTANCES
from turngym.trainers.instances import PROPOSER, TARGET, level_of

MEMORY = 0.9
"""Share of an instance's weight that each further episode leaves: about its last `1 / (1 - 0.9)` = 10 count."""
POOL_MEMORY = 0.995
"""The same for the mean of the pool: about the last 200 episodes count."""
LEVEL_MEMORY = 0.99
"""The same for the mean of every level of a curriculum: about its last 100 episodes count."""
FIRST_WEIGHT = 10.0
"""Episodes that the first mean of a pool counts for. It is that of stage 1, which is optimistic, so one batch should
outweigh it."""


@dataclass(slots=True)
class RunningMean:
    """A weighted mean of numbers that come one by one."""

    value: float = 0.0
    """The mean; 0 before the first number."""
    weight: float = 0.0
    """How many numbers it stands for."""

    def fade(self, memory: float) -> None:
        """Let the numbers so far count for `memory` of what they did, in (0, 1]."""
        self.weight *= memory

    def cap(self, most: float) -> None:
        """Let the numbers so far count for at most `most`."""
        self.weight = min(self.weight, most)

    def add(self, value: float, weight: float = 1.0) -> None:
        """Take in a number that counts for `weight`, above 0."""
        self.weight += weight
        self.value += (value - self.value) * weight / self.weight


class InstanceMeans:
    """Running means of the instances of one level, and of its pool.

    Args:
        first: The first mean of each instance.
        counts: How many episodes that mean counts for.
        pool: The first mean of the pool.
        pool_memory: Share of the weight of the pool's mean that each further episode leaves, in (0, 1].
    """

    def __init__(
        self,
        first: Mapping[int, float],
        counts: Mapping[int, float],
        pool: float,
        *,
        pool_memory: float = POOL_MEMORY,
    ) -> None:
        self._pool_memory = pool_memory
        self._pool = RunningMean(pool, FIRST_WEIGHT)
        self._instances = {index: RunningMean(value, counts[index]) for index, value in first.items()}

    @property
    def pool(self) -> float:
        """The running mean of all episodes of the level."""
        return self._pool.value

    def value(self, index: int) -> float:
        """Return the estimate of an instance, that of the pool where the instance is unknown."""
        return self._shrunk(self._instances.get(index, RunningMean()))

    def value_after(self, index: int, values: Sequence[float]) -> float:
        """Return the estimate of an instance that has a mean of its own, after some more outcomes; nothing changes."""
        mean = replace(self._instances.get(index, RunningMean()))
        for value in values:
            mean.fade(MEMORY)
            mean.add(value)
        return self._shrunk(mean)

    def _shrunk(self, mean: RunningMean) -> float:
        """Return the mean of an instance, drawn towards that of the pool."""
        return (mean.weight * mean.value + self._pool.value) / (mean.weight + 1.0)

    def track(self, index: int, value: float = 0.0, count: float = 0.0) -> None:
        """Keep a mean of an instance from now on, which begins with `value` for `count` episodes."""
        self._instances.setdefault(index, RunningMean(value, count))

    def forget(self, index: int) -> None:
        """Keep no mean of an instance any more."""
        self._instances.pop(index, None)

    def written(self) -> dict[int, RunningMean]:
        """Return the means of instances that were written as text."""
        return {index: mean for index, mean in self._instances.items() if index >= WRITTEN_INSTANCES}

    def update(self, index: int, value: float) -> None:
        """Take in the outcome of an episode of an instance."""
        for mean, memory in ((self._instances.get(index), MEMORY), (self._pool, self._pool_memory)):
            if mean is not None:
                mean.fade(memory)
                mean.add(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists; JSON keeps it to the last bit."""
        return {
            "pool": [self._pool.value, self._pool.weight],
            "instances": [[index, mean.value, mean.weight] for index, mean in self._instances.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        self._pool = RunningMean(*state["pool"])
        self._instances = {int(index): RunningMean(*numbers) for index, *numbers in state["instances"]}


class LevelMeans:
    """The means of all levels of a curriculum, and of the proposer; an index tells its level (`level_of`).

    Args:
        target: The means of the configured environment.
        easier: The means of each easier level, the easiest first; none without a curriculum.
    """

    def __init__(self, target: InstanceMeans, easier: Sequence[InstanceMeans] = ()) -> None:
        self._levels = [*easier, target]
        self._proposer = InstanceMeans({}, {}, 0.0)

    def of(self, index: int) -> InstanceMeans:
        """Return the means of the level that an instance belongs to."""
        level = level_of(index)
        return self._proposer if level == PROPOSER else self._levels[level]

    def track(self, index: int, value: float = 0.0, count: float = 0.0) -> None:
        """Keep a mean of an instance from now on, which begins with `value` for `count` episodes."""
        self.of(index).track(index, value, count)

    def forget(self, index: int) -> None:
        """Keep no mean of an instance any more."""
        self.of(index).forget(index)

    def value(self, index: int) -> float:
        """Return the estimate of an instance."""
        return self.of(index).value(index)

    def update(self, index: int, value: float) -> None:
        """Take in the outcome of an episode of an instance."""
        self.of(index).update(index, value)

    @property
    def pools(self) -> list[float]:
        """The running mean of all episodes of each level, the easiest first and the target last, `[L]`."""
        return [level.pool for level in self._levels]

    def follow_on(self, earlier: LevelMeans) -> None:
        """Take over what stage 1 knows nothing of: the easier levels, what was proposed, and the proposer."""
        self._levels[:-1] = earlier._levels[:-1]
        self._proposer = earlier._proposer
        for index, mean in earlier._levels[TARGET].written().items():
            self.track(index, mean.value, mean.weight)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists."""
        return {"levels": [level.state_dict() for level in self._levels], "proposer": self._proposer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        for level, own in zip(self._levels, state["levels"], strict=True):
            level.load_state_dict(own)
        if "proposer" in state:  # checkpoints of 0.2.0 have none
            self._proposer.load_state_dict(state["proposer"])


def level_means(
    first: Mapping[int, float], counts: Mapping[int, float], pool: float, *, easier: int, easier_pool: float
) -> LevelMeans:
    """Return the means of a run at its start.

    Args:
        first: The first mean of each instance of the target.
        counts: How many episodes that mean counts for.
        pool: The first mean of the target's pool.
        easier: How many easier levels there are.
        easier_pool: The first mean of the pool of each easier level.
    """
    pool_memory = LEVEL_MEMORY if easier else POOL_MEMORY
    target = InstanceMeans(first, counts, pool, pool_memory=pool_memory)
    return LevelMeans(target, [InstanceMeans({}, {}, easier_pool, pool_memory=pool_memory) for _ in range(easier)])
