"""Play as configured: the environment, its arguments and its patience, and the unit of its temperatures."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, cast

import gymnasium as gym
import pytest

from turngym.agents.episode import Status
from turngym.agents.evaluation import instance_range
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.scripted import OracleAgent
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.splits import Split
from turngym.trainers.config import EnvConfig, ShapingConfig, TrainConfig, ValueConfig
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.stage_one.sampling import StageOneSetup

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
    episodes = Rollouts.of(tiny).play(OracleAgent(), INSTANCES, on_episode=lambda episode: heard.append(episode.index))
    assert [episode.index for episode in episodes] == sorted(heard) == [0, 1, 2]
    assert all(episode.env_id == tiny.env.id and episode.env_kwargs == {"size": 3} for episode in episodes)
    assert all(episode.success for episode in episodes)


def test_a_step_that_takes_too_long_costs_its_episode_alone(tiny: TrainConfig) -> None:
    gym.register("test/SleepyLake-v0", entry_point=cast("Any", SleepyLake), max_episode_steps=10)
    try:
        rollouts = replace(Rollouts.of(tiny), env=EnvConfig(id="test/SleepyLake-v0", step_timeout=1.0))
        statuses = [episode.status for episode in rollouts.play(OracleAgent(), INSTANCES)]
    finally:
        del gym.registry["test/SleepyLake-v0"]
    assert statuses == [Status.COMPLETED, Status.ERROR_TIMEOUT, Status.COMPLETED]


@pytest.mark.parametrize("timeout", [math.inf, 30.0])
def test_a_step_timeout_changes_nothing_else(tiny: TrainConfig, timeout: float) -> None:
    rollouts = Rollouts.of(tiny)
    patient = replace(rollouts, env=replace(tiny.env, step_timeout=timeout))
    assert patient.play(OracleAgent(), INSTANCES, slots=1) == rollouts.play(OracleAgent(), INSTANCES)


def test_an_agent_samples_as_the_run_says(model: LanguageModel, tiny: TrainConfig) -> None:
    rollouts = replace(Rollouts.of(tiny), temperature=0.7)
    agent, other = rollouts.agent(model), rollouts.agent(model, temperature=0.5, greedy=True)
    assert (agent.temperature, agent.greedy, agent.max_reply_tokens) == (0.7, False, 4)
    assert (other.temperature, other.greedy) == (0.5, True)


def test_temperatures_are_in_units_of_the_width_of_the_reward_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrozenLakeEnv, "reward_range", (-1.0, 3.0))
    config = TrainConfig(env=EnvConfig(id="turngym/FrozenLake-v0"), values=ValueConfig(beta_value=0.25))
    rollouts = Rollouts.of(config)
    assert (rollouts.task_range, rollouts.reward_span) == ((-1.0, 3.0), 4.0)
    assert StageOneSetup.of(config).beta_value == 1.0


def test_shaping_does_not_change_the_unit() -> None:
    plain = TrainConfig(env=EnvConfig(id="turngym/FrozenLake-v0"))
    shaped = replace(plain, shaping=ShapingConfig(step_cost=0.1, potential_weight=0.5))
    one, other = Rollouts.of(plain), Rollouts.of(shaped)
    assert other.return_range != one.return_range == (0.0, 1.0)
    assert other.task_range == one.task_range == (0.0, 1.0)
    temperatures = [StageOneSetup.of(config).beta_value for config in (plain, shaped)]
    assert temperatures == [plain.values.beta_value] * 2
