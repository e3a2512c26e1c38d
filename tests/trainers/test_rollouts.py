"""Play as configured: the environment, its arguments, and its patience."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast

import gymnasium as gym
import pytest

from turngym.agents.episode import Status
from turngym.agents.evaluation import instance_range
from turngym.agents.scripted import OracleAgent
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.splits import Split
from turngym.trainers.config import EnvConfig, TrainConfig
from turngym.trainers.rollouts import play

INSTANCES = instance_range("train", 3)


class SleepyLake(FrozenLakeEnv):
    """A lake whose second instance takes long to answer."""

    def _begin(self, split: Split, index: int) -> None:
        self.index = index
        super()._begin(split, index)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self.index == 1:
            time.sleep(3.0)
        return super().step(action)


def test_plays_what_is_configured_in_order(tiny: TrainConfig) -> None:
    heard: list[int] = []
    episodes = play(OracleAgent(), INSTANCES, tiny, on_episode=lambda episode: heard.append(episode.index))
    assert [episode.index for episode in episodes] == sorted(heard) == [0, 1, 2]
    assert all(episode.env_id == tiny.env.id and episode.env_kwargs == {"size": 3} for episode in episodes)
    assert all(episode.success for episode in episodes)


def test_a_step_that_takes_too_long_costs_its_episode_alone(tiny: TrainConfig) -> None:
    gym.register("test/SleepyLake-v0", entry_point=cast("Any", SleepyLake), max_episode_steps=10)
    try:
        config = replace(tiny, env=EnvConfig(id="test/SleepyLake-v0", step_timeout=1.0))
        statuses = [episode.status for episode in play(OracleAgent(), INSTANCES, config)]
    finally:
        del gym.registry["test/SleepyLake-v0"]
    assert statuses == [Status.COMPLETED, Status.ERROR_TIMEOUT, Status.COMPLETED]


@pytest.mark.parametrize("timeout", [0.0, 30.0])
def test_patience_changes_nothing_else(tiny: TrainConfig, timeout: float) -> None:
    config = replace(tiny, env=replace(tiny.env, step_timeout=timeout))
    assert play(OracleAgent(), INSTANCES, config, slots=1) == play(OracleAgent(), INSTANCES, tiny)
