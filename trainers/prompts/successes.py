"""Running success rates of instances and levels, by which prompts are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turngym.agents.episode import Episode
from turngym.trainers.running_means import LevelMeans, level_means
from turngym.trainers.stage_one.stage import StageOneResult

WEIGHT_FLOOR = 0.05
"""Least sampling weight of a prompt, so that every one of them is drawn now and then."""
UNKNOWN = 0.5
"""The success rate assumed for an instance or level without any episode."""


def predictive_stds(success_I: ArrayLike) -> NDArray[np.float64]:
    """Return the predicted standard deviation of a success, `sqrt(p (1 - p))`, [I]; p is cut off to [0, 1]."""
    success = np.clip(np.asarray(success_I, dtype=np.float64), 0.0, 1.0)
    return np.asarray(np.sqrt(success * (1.0 - success)))


def sampling_weights(success_I: ArrayLike) -> NDArray[np.float64]:
    """Return `sqrt(p (1 - p)) + 0.05`, largest at a success rate of 1/2, shape [I]; p is cut off to [0, 1]."""
    return predictive_stds(success_I) + WEIGHT_FLOOR


class SuccessTracker:
    """Running success rates of instances and levels.

    Args:
        result: Stage 1, whose success rates are the first ones; each counts for as many episodes as it was measured on.
        easier: How many easier levels of a curriculum there are.
    """

    def __init__(self, result: StageOneResult, *, easier: int = 0) -> None:
        rates = result.success_rates
        pool = float(np.mean(list(rates.values()))) if rates else UNKNOWN
        known = result.estimates
        first = {int(index): rates.get(int(index), pool) for index in known.instances}
        counts = dict(zip(first, map(float, known.counts.tolist()), strict=True))
        self.means: LevelMeans = level_means(first, counts, pool, easier=easier, easier_pool=UNKNOWN)

    def success(self, index: int) -> float:
        """Return the estimated probability that the current policy solves an instance."""
        return self.means.value(index)

    def success_after(self, index: int, successes: Sequence[bool]) -> float:
        """Return what `success` would be of an instance, followed on its own, after some more episodes of it alone.

        Args:
            index: The instance.
            successes: How these episodes end.
        """
        return self.means.of(index).value_after(index, [float(success) for success in successes])

    def predictive_stds(self, indices_I: Iterable[int]) -> NDArray[np.float64]:
        """Return the predicted standard deviation of the success of instances, in [0, 0.5], shape [I]."""
        return predictive_stds([self.success(index) for index in indices_I])

    def prompt_weights(self, indices_I: Iterable[int]) -> NDArray[np.float64]:
        """Return the `sampling_weights` of instances by their success, shape [I]."""
        return sampling_weights([self.success(index) for index in indices_I])

    def level_successes(self) -> list[float]:
        """Return the running success of every level, the easiest first and the target last, [L]."""
        return self.means.pools

    def update(self, episodes: Sequence[Episode]) -> None:
        """Take in the outcomes of episodes."""
        for episode in episodes:
            self.means.update(episode.index, float(episode.success))

    def track(self, index: int) -> None:
        """Follow an instance of its own from now on, whose first guess is the success of the pool."""
        self.means.track(index)

    def forget(self, index: int) -> None:
        """Follow an instance no more."""
        self.means.forget(index)

    def follow_on(self, earlier: SuccessTracker) -> None:
        """Take over what stage 1 does not play: the easier levels of an earlier round, and what was proposed."""
        self.means.follow_on(earlier.means)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists; JSON keeps it to the last bit."""
        return self.means.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        self.means.load_state_dict(state)
