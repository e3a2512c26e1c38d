from __future__ import annotations

from dataclasses import replace

import pytest

from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers.config import EnvConfig, ShapingConfig, TrainConfig, ValueConfig
from turngym.trainers.shaping import return_range
from turngym.trainers.units import reward_span, task_range, value_temperature


def test_temperatures_are_in_units_of_the_width_of_the_reward_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrozenLakeEnv, "reward_range", (-1.0, 3.0))
    config = TrainConfig(env=EnvConfig(id="turngym/FrozenLake-v0"), values=ValueConfig(beta_value=0.25))
    assert (task_range(config), reward_span(config), value_temperature(config)) == ((-1.0, 3.0), 4.0, 1.0)


def test_shaping_does_not_change_the_unit() -> None:
    plain = TrainConfig(env=EnvConfig(id="turngym/FrozenLake-v0"))
    shaped = replace(plain, shaping=ShapingConfig(step_cost=0.1, potential_weight=0.5))
    assert return_range(shaped) != return_range(plain) == (0.0, 1.0)
    assert task_range(shaped) == task_range(plain) == (0.0, 1.0)
    assert value_temperature(shaped) == value_temperature(plain) == plain.values.beta_value
