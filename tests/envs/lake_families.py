"""The mean success of the best player and of the random agent over many lakes of one family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from turngym.envs.capabilities import Optimum, RandomFloor
from turngym.envs.splits import Split


@dataclass(frozen=True)
class FamilySuccess:
    """Mean success over instances of a family, each with its standard error."""

    optimal: float
    """The best possible player."""
    optimal_error: float
    """Standard error of `optimal`."""
    random: float
    """The random agent."""
    random_error: float
    """Standard error of `random`."""
    instances: int
    """How many instances the means are over."""


def family_success(env: str | Mapping[str, Any], split: Split = "test", instances: int = 1000) -> FamilySuccess:
    """Return the ceiling and the floor of a family of lakes: nothing is played, all is computed.

    Args:
        env: A registered id, or arguments of `FrozenLakeEnv` on top of those of `turngym/FrozenLake-v0`;
            `max_episode_steps` is the turn limit.
        split: The split whose instances 0 to `instances - 1` are averaged.
        instances: How many, at least 2.
    """
    made = gym.make(env) if isinstance(env, str) else gym.make("turngym/FrozenLake-v0", **env)
    lake = made.unwrapped
    assert isinstance(lake, Optimum)
    assert isinstance(lake, RandomFloor)
    success = np.empty((instances, 2))
    for index in range(instances):
        made.reset(options={"split": split, "index": index})
        optimal, random = lake.optimal_success(), lake.random_success()
        assert optimal is not None and random is not None
        success[index] = optimal, random
    means = success.mean(axis=0)
    errors = success.std(axis=0, ddof=1) / np.sqrt(instances)
    return FamilySuccess(float(means[0]), float(errors[0]), float(means[1]), float(errors[1]), instances)
