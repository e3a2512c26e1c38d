"""The running baseline of stage 2: what each instance is worth to the policy as it is now.

The soft return of an episode, `S = R - beta * log(pi / ref)(episode)`, has the mean `V^pi_beta(x) <= V*(x)` under the
policy itself, in stochastic environments too, with equality at the optimum. Averaging it per instance costs no extra
episode. Stage 1 gives the start, old visits fade, and the rest of the weight goes to the level of the whole pool, which
moves with the policy; so a rarely visited instance does not keep the value it had for a weaker policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.stage_one.instance_values import ValueEstimates

POOL_MEMORY = 0.995
"""The level of the pool averages the last `1 / (1 - POOL_MEMORY)` = 200 episodes, where nothing else is asked for."""
WEIGHT_FLOOR = 0.05
"""Least sampling weight of a prompt, so that none is given up for good."""


def predictive_stds(success_I: ArrayLike) -> NDArray[np.float64]:
    """Return the predicted standard deviation of a success, `sqrt(p (1 - p))`, [I]; p is cut off to [0, 1]."""
    success = np.clip(np.asarray(success_I, dtype=np.float64), 0.0, 1.0)
    return np.asarray(np.sqrt(success * (1.0 - success)))


def sampling_weights(success_I: ArrayLike) -> NDArray[np.float64]:
    """Return `sqrt(p (1 - p)) + 0.05`, largest where success is a toss-up, shape [I]; p is cut off to [0, 1]."""
    return predictive_stds(success_I) + WEIGHT_FLOOR


@dataclass(slots=True)
class _Average:
    """Running averages with fading memory."""

    value: float
    """Of the soft return."""
    success: float
    """Of the success."""
    weight: float
    """How many recent visits the averages are worth."""

    def update(self, soft_return: float, success: bool, memory: float) -> None:
        self.weight = memory * self.weight + 1.0
        self.value += (soft_return - self.value) / self.weight
        self.success += (float(success) - self.success) / self.weight


class ValueTracker:
    """Tracks the soft return and the success rate of every instance of stage 1, and of the pool as a whole.

    An instance that stage 1 has not sampled is worth the level of the pool, and counts for that level alone: fresh
    instances are played once, so the state does not grow with the run.

    Read `value` before an episode is used and call `update` after: then the baseline of a sample never depends on that
    sample, and the gradient stays unbiased whatever the value.

    Args:
        estimates: Stage 1; its values are the starting point, each worth as many visits as it had samples.
        success_rates: Success rate of the reference policy per instance; where absent, the pool's mean.
        memory: Share of an instance's weight that survives a visit, in (0, 1]; about `1 / (1 - memory)` visits count.
        pool_weight: Visits that the level of the pool is worth in every estimate, above 0.
        pool_memory: The same as `memory` for the level of the pool and its episodes.

    Raises:
        ValueError: `memory`, `pool_weight` or `pool_memory` is out of range.
    """

    def __init__(
        self,
        estimates: ValueEstimates,
        success_rates: Mapping[int, float],
        *,
        memory: float = 0.9,
        pool_weight: float = 1.0,
        pool_memory: float = POOL_MEMORY,
    ) -> None:
        if not 0.0 < memory <= 1.0 or not pool_weight > 0.0:
            raise ValueError(f"need 0 < memory <= 1 and pool_weight > 0, got {memory} and {pool_weight}")
        if not 0.0 < pool_memory <= 1.0:
            raise ValueError(f"need 0 < pool_memory <= 1, got {pool_memory}")
        self.memory = memory
        self.pool_weight = pool_weight
        self.pool_memory = pool_memory
        pool_success = float(np.mean(list(success_rates.values()))) if success_rates else 0.5
        # Ten visits: one batch of episodes outweighs the optimistic stage-1 level of the pool.
        self._pool = _Average(estimates.prior, pool_success, weight=10.0)
        self._instances = {
            int(index): _Average(float(value), success_rates.get(int(index), pool_success), weight=float(count))
            for index, value, count in zip(estimates.instances, estimates.values, estimates.counts, strict=True)
        }
        self._returns: dict[int, float] = {}
        self._first = {index: average.value for index, average in self._instances.items()}
        self._first_of_pool = estimates.prior

    def first_value(self, index: int) -> float:
        """Return V* of an instance as stage 1 estimated it, that of the pool where stage 1 did not sample it."""
        return self._first.get(index, self._first_of_pool)

    def value(self, index: int) -> float:
        """Return the baseline of an instance, in the unit of the returns; the pool's level where it is unknown."""
        average = self._instances.get(index)
        if average is None:
            return self._pool.value
        return self._with_pool(average.weight, average.value, self._pool.value)

    def success(self, index: int) -> float:
        """Return the estimated probability that the current policy solves an instance."""
        average = self._instances.get(index)
        if average is None:
            return self._pool.success
        return self._with_pool(average.weight, average.success, self._pool.success)

    @property
    def pool_success(self) -> float:
        """The success rate of the pool as a whole."""
        return self._pool.success

    def update(self, index: int, soft_return: float, *, success: bool) -> None:
        """Learn from an episode whose baseline has been used.

        Args:
            index: The instance played, of the pool or fresh.
            soft_return: `R - beta * sum(log pi - log ref)` over the episode, in the unit of the returns.
            success: Whether the episode solved its task.

        Raises:
            ValueError: `soft_return` is not finite.
        """
        if not math.isfinite(soft_return):
            raise ValueError(f"need a finite soft return, got {soft_return}")
        average = self._instances.get(index)
        if average is not None:
            average.update(soft_return, success, self.memory)
        self._pool.update(soft_return, success, self.pool_memory)

    def remember(self, index: int, total_return: float) -> None:
        """Keep the return of the last episode of an instance, if it is one that is played again and again."""
        if index < FRESH_INSTANCES:
            self._returns[index] = total_return

    def last_return(self, index: int) -> float | None:
        """Return what `remember` was last told of an instance, None if nothing."""
        return self._returns.get(index)

    def predictive_stds(self, indices_I: Iterable[int]) -> NDArray[np.float64]:
        """Return the predicted standard deviation of the success of instances, in [0, 0.5], shape [I]."""
        return predictive_stds([self.success(index) for index in indices_I])

    def prompt_weights(self, indices_I: Iterable[int]) -> NDArray[np.float64]:
        """Return the `sampling_weights` of instances by their success, shape [I]."""
        return sampling_weights([self.success(index) for index in indices_I])

    def follow_on(self, state: Mapping[str, Any]) -> None:
        """Take over what stage 1 of a later reference cannot know: of the configured environment it knows all."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists; JSON keeps it to the last bit."""
        averages = self._instances.values()
        return {
            "memory": self.memory,
            "pool_weight": self.pool_weight,
            "pool": [self._pool.value, self._pool.success, self._pool.weight],
            "returns": [list(pair) for pair in self._returns.items()],
            "instances": list(self._instances),
            "values": [average.value for average in averages],
            "successes": [average.success for average in averages],
            "weights": [average.weight for average in averages],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        self.memory = float(state["memory"])
        self.pool_weight = float(state["pool_weight"])
        self._pool = _Average(*state["pool"])
        self._returns = {int(index): total for index, total in state.get("returns", [])}
        columns = zip(state["instances"], state["values"], state["successes"], state["weights"], strict=True)
        self._instances = {int(index): _Average(*averages) for index, *averages in columns}

    def _with_pool(self, weight: float, own: float, pool: float) -> float:
        return (weight * own + self.pool_weight * pool) / (weight + self.pool_weight)
