"""Registered potentials in place of an environment's own."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest

from turngym.envs.core import TextEnv
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.potentials import POTENTIALS, ReplacePotential, find_potential, register_potential
from turngym.envs.shaping import PotentialShaping

LAKE = "turngym/FrozenLake-v0"


def turns_taken(env: TextEnv) -> float:
    return min(1.0, env.turns_taken / 10)


def lake(potential: str) -> ReplacePotential:
    return ReplacePotential(gym.make(LAKE, disable_env_checker=True), potential)


def test_it_stands_in_place_of_the_own_one(own_code: Path) -> None:
    assert register_potential("turns-taken")(turns_taken) is turns_taken
    env = lake("turns-taken")
    observation, info = env.reset(seed=0)
    plain_observation, plain = gym.make(LAKE).reset(seed=0)
    assert info["potential"] == 0.0 != plain["potential"]
    assert observation == plain_observation
    assert {**info, "potential": plain["potential"]} == plain
    for turn in (1, 2):
        *_, terminated, truncated, info = env.step("nothing")
        assert not (terminated or truncated) and info["potential"] == turn / 10


def test_it_is_zero_once_the_game_has_ended_and_not_asked_for(own_code: Path) -> None:
    asked = []

    @register_potential("one")
    def one(env: TextEnv) -> float:
        asked.append(env.turns_taken)
        return 1.0

    env = lake("one")
    assert env.reset(seed=0)[1]["potential"] == 1.0
    terminated = False
    while not terminated:
        *_, terminated, truncated, info = env.step(cast("FrozenLakeEnv", env.unwrapped).oracle_action())
        assert not truncated
        assert info["potential"] == (0.0 if terminated else 1.0)
    assert asked == list(range(len(asked))) and len(asked) > 1


def test_shaping_pays_by_it(own_code: Path) -> None:
    register_potential("turns-taken")(turns_taken)
    env = PotentialShaping(lake("turns-taken"), weight=2.0)
    env.reset(seed=0)
    *_, info = env.step("nothing")
    assert info["potential_shaping"] == pytest.approx(0.2)


def test_the_spec_tells_the_name(own_code: Path) -> None:
    register_potential("turns-taken")(turns_taken)
    spec = lake("turns-taken").spec
    assert spec is not None
    assert spec.additional_wrappers[-1].kwargs == {"potential": "turns-taken"}
    assert gym.make(spec).reset(seed=0)[1]["potential"] == 0.0


@pytest.mark.parametrize("value", [0, 1, True, np.float32(0.5), np.int64(1), Fraction(1, 3)])
def test_every_kind_of_number_serves(value: Any, own_code: Path) -> None:
    register_potential("given")(lambda env: value)
    potential = lake("given").reset(seed=0)[1]["potential"]
    assert type(potential) is float and potential == float(value)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, None, "0.5", np.array([0.5]), 1j])
def test_anything_else_is_an_error_that_names_it(value: Any, own_code: Path) -> None:
    register_potential("wrong")(lambda env: value)
    with pytest.raises(ValueError, match=r"the potential 'wrong' must be a number in \[0, 1\], but it returned"):
        lake("wrong").reset(seed=0)


def test_an_unknown_potential_names_the_nearest(own_code: Path) -> None:
    POTENTIALS.clear()
    with pytest.raises(ValueError, match="there is no potential 'x': none is registered; see"):
        find_potential("x")
    register_potential("turns-taken")(turns_taken)
    with pytest.raises(ValueError, match="there is no potential 'turn-taken'; did you mean 'turns-taken'"):
        lake("turn-taken")


def test_names_have_one_owner_and_are_checked(own_code: Path) -> None:
    register_potential("turns-taken")(turns_taken)
    register_potential("turns-taken")(turns_taken)
    with pytest.raises(ValueError, match=r"there is a potential 'turns-taken' already, .*\.turns_taken; register"):
        register_potential("turns-taken")(lambda env: 0.0)
    with pytest.raises(ValueError, match="the name of a potential is made of letters"):
        register_potential("turns taken")
    for wrong in (0.5, lambda: 0.5):
        with pytest.raises(ValueError, match="the potential 'x' must be a function of the environment, got"):
            register_potential("x")(wrong)  # type: ignore[type-var]


def test_only_text_environments_have_one(own_code: Path) -> None:
    register_potential("turns-taken")(turns_taken)
    with pytest.raises(TypeError, match="needs a TextEnv inside, got CartPoleEnv"):
        ReplacePotential(cast("Any", gym.make("CartPole-v1")), "turns-taken")
