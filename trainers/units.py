"""The unit of rewards and temperatures: the width of the environment's own reward range, which is what a task is worth.

Shaping does not widen it. Otherwise a potential, which changes no optimal policy, would change the temperature and so
the optimum.
"""

from __future__ import annotations

from turngym.agents.rollout import make_env, text_env
from turngym.trainers.config import TrainConfig


def task_range(config: TrainConfig) -> tuple[float, float]:
    """Return the bounds of a return of the task, without shaping."""
    low, high = text_env(make_env(config.env.id, config.env.kwargs)).reward_range
    return low, high


def reward_span(config: TrainConfig) -> float:
    """Return the unit: a temperature b of the configuration is b times this in the unit of the returns."""
    low, high = task_range(config)
    return high - low


def value_temperature(config: TrainConfig) -> float:
    """Return the temperature of V* of stage 1, in the unit of the returns."""
    return config.values.beta_value * reward_span(config)
