"""Running means of instances that follow a policy: what was seen of an instance, shrunk towards the level of the pool.

Old visits fade, and an instance that is seldom visited does not keep what it had for a weaker policy, since the level
of the pool, which moves with the policy, counts for a visit in every estimate:

    value(x) = (n_x * mean_x + pool_weight * pool) / (n_x + pool_weight)

An instance that stage 1 has not sampled has the level of the pool, and counts for that level alone: fresh instances are
played once, so what is held does not grow with the run. An easier level of a curriculum has a level of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turngym.trainers.instances import level_of

MEMORY = 0.9
"""An instance averages its last `1 / (1 - MEMORY)` = 10 visits."""
POOL_MEMORY = 0.995
"""The level of the pool averages the last `1 / (1 - POOL_MEMORY)` = 200 episodes."""
LEVEL_MEMORY = 0.99
"""With a curriculum every level averages its last 100 episodes."""
FIRST_WEIGHT = 10.0
"""Episodes that the first level of a pool counts for: one batch outweighs the optimistic level of stage 1."""


@dataclass(slots=True)
class FadingMean:
    """A running mean with fading memory."""

    value: float
    """The mean."""
    weight: float
    """How many recent visits it is worth."""

    def update(self, value: float, memory: float) -> None:
        """Take in a further visit; `memory` is the share of the weight that survives it."""
        self.weight = memory * self.weight + 1.0
        self.value += (value - self.value) / self.weight


class InstanceMeans:
    """Running means of the instances of one level, and of the level as a whole.

    Args:
        first: Where the instances begin.
        counts: How many visits that is worth, for each of them.
        pool: Where the level as a whole begins.
        memory: Share of an instance's weight that survives a visit, in (0, 1].
        pool_memory: The same for the level as a whole and its episodes.
        pool_weight: Visits that the level as a whole is worth in every estimate, above 0.

    Raises:
        ValueError: `memory`, `pool_memory` or `pool_weight` is out of range.
    """

    def __init__(
        self,
        first: Mapping[int, float],
        counts: Mapping[int, float],
        pool: float,
        *,
        memory: float = MEMORY,
        pool_memory: float = POOL_MEMORY,
        pool_weight: float = 1.0,
    ) -> None:
        if not (0.0 < memory <= 1.0 and 0.0 < pool_memory <= 1.0 and pool_weight > 0.0):
            raise ValueError("need 0 < memory <= 1, 0 < pool_memory <= 1 and pool_weight > 0, "
                             f"got {memory}, {pool_memory} and {pool_weight}")  # fmt: skip
        self._memory, self._pool_memory, self._pool_weight = memory, pool_memory, pool_weight
        self._pool = FadingMean(pool, FIRST_WEIGHT)
        self._instances = {index: FadingMean(value, counts[index]) for index, value in first.items()}

    @property
    def pool(self) -> float:
        """The running mean of the level as a whole."""
        return self._pool.value

    def value(self, index: int) -> float:
        """Return the estimate of an instance; that of the level as a whole where it is unknown."""
        mean = self._instances.get(index)
        if mean is None:
            return self._pool.value
        return (mean.weight * mean.value + self._pool_weight * self._pool.value) / (mean.weight + self._pool_weight)

    def update(self, index: int, value: float) -> None:
        """Take in what was seen of an instance."""
        mean = self._instances.get(index)
        if mean is not None:
            mean.update(value, self._memory)
        self._pool.update(value, self._pool_memory)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists; JSON keeps it to the last bit."""
        return {
            "pool": [self._pool.value, self._pool.weight],
            "instances": [[index, mean.value, mean.weight] for index, mean in self._instances.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        self._pool = FadingMean(*state["pool"])
        self._instances = {int(index): FadingMean(*numbers) for index, *numbers in state["instances"]}


class LevelMeans:
    """The means of all levels of a curriculum behind the interface of one: an index says which of them answers.

    Args:
        target: Those of the configured environment.
        easier: Those of each easier level, the easiest first; none without a curriculum.
    """

    def __init__(self, target: InstanceMeans, easier: Sequence[InstanceMeans] = ()) -> None:
        self._levels = [*easier, target]

    def of(self, index: int) -> InstanceMeans:
        """Return the means of the level that an instance belongs to."""
        return self._levels[level_of(index)]

    def value(self, index: int) -> float:
        """Return the estimate of an instance."""
        return self.of(index).value(index)

    def update(self, index: int, value: float) -> None:
        """Take in what was seen of an instance."""
        self.of(index).update(index, value)

    @property
    def pools(self) -> list[float]:
        """The running mean of every level as a whole, the easiest first, `[L]`."""
        return [level.pool for level in self._levels]

    def follow_on(self, earlier: LevelMeans) -> None:
        """Take over the easier levels, of which a new stage 1 knows nothing: it plays the target alone."""
        self._levels[:-1] = earlier._levels[:-1]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists."""
        return {"levels": [level.state_dict() for level in self._levels]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        for level, own in zip(self._levels, state["levels"], strict=True):
            level.load_state_dict(own)


def level_means(
    first: Mapping[int, float], counts: Mapping[int, float], pool: float, *, easier: int, easier_pool: float
) -> LevelMeans:
    """Return the means of a run at its start.

    Args:
        first: Where the instances of the target begin.
        counts: How many visits that is worth.
        pool: Where the target as a whole begins.
        easier: How many easier levels there are.
        easier_pool: Where each of them begins.
    """
    pool_memory = LEVEL_MEMORY if easier else POOL_MEMORY
    target = InstanceMeans(first, counts, pool, pool_memory=pool_memory)
    return LevelMeans(target, [InstanceMeans({}, {}, easier_pool, pool_memory=pool_memory) for _ in range(easier)])
