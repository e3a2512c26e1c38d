"""Shaping: what it adds up to in every environment, what it leaves alone, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs import TextEnv, env_ids
from turngym.envs.making import text_env
from turngym.envs.shaping import (
    PLAIN_KEY,
    POTENTIAL_KEY,
    PlainShaping,
    PotentialShaping,
    plain_term,
    potential_gains,
)
from turngym.envs.testing import (
    Moment,
    Policy,
    check_text_env,
    hostile_replies,
    oracle_policy,
    play,
    random_policy,
)

LAKE = "turngym/FrozenLake-v0"
KEYS = (POTENTIAL_KEY, PLAIN_KEY)
WEIGHT, PENALTY, FORM, COST = 0.7, 0.11, 0.17, 0.013


def hostile_player(seed: int) -> Policy:
    """Return a player whose replies are mostly unusable."""
    replies: dict[TextEnv, Iterator[str]] = {}
    return lambda env: next(replies.setdefault(env, hostile_replies(env, np.random.default_rng(seed))))


def silent_player(env: TextEnv) -> str:
    """Say nothing until the turn limit."""
    return ""


PLAYERS: dict[str, Callable[[int], Policy]] = {
    "random": random_policy,
    "oracle": lambda seed: oracle_policy,
    "hostile": hostile_player,
    "silent": lambda seed: silent_player,
}


def both(env: gym.Env[str, str]) -> gym.Env[str, str]:
    """Shape an environment in both ways."""
    potential = PotentialShaping(env, weight=WEIGHT)
    return PlainShaping(potential, invalid_penalty=PENALTY, step_cost=COST, format_penalty=FORM)


def stripped(moment: Moment) -> Moment:
    """Return what the game itself said."""
    info = {key: value for key, value in moment.info.items() if key not in KEYS}
    return dataclasses.replace(moment, reward=info["task_reward"], info=info)


class Secretive(PlainShaping):
    """Takes more than it says."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward - 1e-3, terminated, truncated, info


# In every environment -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reasoning", [False, True])
@pytest.mark.parametrize("name", PLAYERS)
@pytest.mark.parametrize("env_id", env_ids())
def test_an_episode_pays_the_potential_of_its_start_and_what_its_turns_cost(
    env_id: str, name: str, reasoning: bool
) -> None:
    plain, shaped = gym.make(env_id, reasoning=reasoning), both(gym.make(env_id, reasoning=reasoning))
    ends = set()
    for index in range(6):
        bare = play(plain, PLAYERS[name](index), seed=index, index=index)
        episode = play(shaped, PLAYERS[name](index), seed=index, index=index)
        assert [stripped(moment) for moment in episode] == bare, "shaping must change rewards alone"
        turns = episode[1:]
        malformed = sum(not moment.info["well_formed"] for moment in turns)
        refused = sum(moment.info["well_formed"] and not moment.info["valid"] for moment in turns)
        totals = [sum(moment.info[key] for moment in turns) for key in KEYS]
        assert totals[0] == pytest.approx(-WEIGHT * bare[0].info["potential"], abs=1e-12)
        assert totals[1] == pytest.approx(-COST * len(turns) - PENALTY * refused - FORM * malformed, abs=1e-12)
        expected = sum(moment.reward for moment in bare) + sum(totals)
        assert sum(moment.reward for moment in turns) == pytest.approx(expected, abs=1e-12)
        assert [episode[0].info[key] for key in KEYS] == [0.0, 0.0]
        low, high = shaped.get_wrapper_attr("reward_range")
        assert low - 1e-12 <= expected <= high + 1e-12
        ends.add((episode[-1].terminated, episode[-1].truncated))
    if name == "silent":
        assert ends == {(False, True)}, "the turn limit must have cut these episodes off"
    if name == "oracle":
        assert (True, False) in ends


@pytest.mark.parametrize("env_id", env_ids())
def test_the_contract_of_text_environments_holds(env_id: str) -> None:
    check_text_env(both(gym.make(env_id)), instances=2)


def test_the_checker_sees_a_term_that_is_not_told() -> None:
    with pytest.raises(AssertionError, match="task_reward must be the unshaped reward"):
        check_text_env(Secretive(gym.make(LAKE), step_cost=0.1), instances=1)


def test_gymnasium_checks_a_shaped_environment_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version.*")
        check_env(both(gym.make(LAKE)))


# The potential ------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_gains_add_up_to_what_the_start_had(potentials: list[float]) -> None:
    gains = potential_gains(potentials)
    assert len(gains) == len(potentials)
    assert math.fsum(gains) == pytest.approx(-potentials[0], abs=1e-4)
    assert gains[-1] == -potentials[-1], "what is left is given back"


def test_no_turn_gains_nothing() -> None:
    assert potential_gains([]) == []


@given(
    seed=st.integers(0, 10**6),
    replies=st.lists(st.sampled_from(["left", "down", "right", "up", "nonsense"]), min_size=10, max_size=10),
    weight=st.floats(-5, 5),
)
def test_any_potential_of_states_is_paid_back(seed: int, replies: list[str], weight: float) -> None:
    rng = np.random.default_rng(seed)
    height: dict[str, float] = {}

    def potential(info: Mapping[str, Any]) -> float:
        return height.setdefault(info["state_key"], float(rng.uniform(-3, 3)))

    made = gym.make("turngym/FrozenLakeSlippery-v0", disable_env_checker=True)
    env = PotentialShaping(made, potential, weight, potential_range=(-3, 3))
    said = iter(replies)
    episode = play(env, lambda _: next(said), seed=seed, index=seed % 50)
    gained = sum(moment.reward - moment.info["task_reward"] for moment in episode)
    assert gained == pytest.approx(-weight * height[episode[0].info["state_key"]], abs=1e-9)
    states = [height[moment.info["state_key"]] for moment in episode[:-1]] + [0.0]
    for (before, after), moment in zip(pairwise(states), episode[1:], strict=True):
        assert moment.reward == moment.info["task_reward"] + weight * (after - before)


def test_the_potential_of_a_state_after_the_end_is_never_asked_for() -> None:
    asked: list[str] = []

    def potential(info: Mapping[str, Any]) -> float:
        asked.append(info["state_key"])
        return 0.5

    env = PotentialShaping(gym.make(LAKE, max_episode_steps=2), potential)
    episode = play(env, silent_player)
    assert [moment.reward for moment in episode] == [0.0, 0.0, -0.5] and episode[-1].truncated
    assert asked == [moment.info["state_key"] for moment in episode[:-1]]


def test_nothing_is_left_over_for_the_next_episode() -> None:
    env = PotentialShaping(gym.make(LAKE))
    first = play(env, random_policy(0), index=1)
    env.reset(options={"index": 9})
    env.step("left")  # an episode that is given up
    assert play(env, random_policy(0), index=1) == first


@pytest.mark.parametrize("weight", [0.5, -2.0])
def test_the_range_of_returns_moves_by_what_a_start_can_cost(weight: float) -> None:
    env = PotentialShaping(gym.make(LAKE), lambda info: 2.0, weight, potential_range=(-1.0, 3.0))
    assert env.reward_range == ((-1.5, 1.5) if weight == 0.5 else (-2.0, 7.0))
    assert sum(moment.reward for moment in play(env, silent_player)) == pytest.approx(-weight * 2.0)


@pytest.mark.parametrize("value", [1.5, -0.1, math.nan])
def test_a_potential_out_of_its_range_is_refused(value: float) -> None:
    values = iter([0.5, value])
    env = PotentialShaping(gym.make(LAKE), lambda info: next(values))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"outside of potential_range \(0\.0, 1\.0\); give PotentialShaping the"):
        env.step("nonsense")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": math.inf}, "must be finite"),
        ({"weight": "1"}, "weight must be a number, got '1'"),
        ({"potential_range": (0.0,)}, "potential_range must be a list of 2"),
        ({"weight": math.nan}, "must be finite"),
        ({"potential_range": (1.0, 0.0)}, "its lower bound first"),
        ({"potential_range": (0.0, math.inf)}, "must be finite"),
    ],
)
def test_numbers_that_shape_nothing_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PotentialShaping(gym.make(LAKE), **arguments)


def test_it_must_stand_outside_of_the_turn_limit() -> None:
    for inside in (gym.make(LAKE).unwrapped, gym.make(LAKE, max_episode_steps=-1)):
        with pytest.raises(ValueError, match="must stand outside of TimeLimit"):
            PotentialShaping(inside)
    by_hand = PotentialShaping(TimeLimit(gym.make(LAKE).unwrapped, 3))
    start, *_, last = play(by_hand, silent_player)
    assert last.truncated and last.reward == -start.info["potential"] != 0.0
    spec = PotentialShaping(gym.make(LAKE), weight=2.0).spec
    assert spec is not None
    env = gym.make(spec)
    start, *_, last = play(env, silent_player)
    assert last.truncated and last.reward == -2.0 * start.info["potential"] != 0.0


# The plain terms ----------------------------------------------------------------------------------------------------


def test_every_turn_costs_and_an_unusable_reply_costs_more() -> None:
    env = PlainShaping(gym.make(LAKE), invalid_penalty=0.25, step_cost=0.5, format_penalty=0.125)
    env.reset(seed=0)
    assert env.step("up")[1] == -0.5
    _, reward, _, _, info = env.step("fly")
    assert (reward, info["task_reward"], info[PLAIN_KEY], info["valid"]) == (-0.75, 0.0, -0.75, False)
    assert POTENTIAL_KEY not in info
    _, reward, _, _, info = env.step("")
    assert (reward, info["task_reward"], info[PLAIN_KEY], info["valid"]) == (-0.625, 0.0, -0.625, False)


@pytest.mark.parametrize(
    ("valid", "well_formed", "term"), [(True, True, -0.5), (False, True, -0.75), (False, False, -1.5)]
)
def test_a_reply_costs_one_penalty_at_the_most(valid: bool, well_formed: bool, term: float) -> None:
    costs = {"invalid_penalty": 0.25, "format_penalty": 1.0, "step_cost": 0.5}
    assert plain_term(valid=valid, well_formed=well_formed, **costs) == term


@pytest.mark.parametrize("name", ["invalid_penalty", "format_penalty"])
def test_the_range_of_returns_falls_by_the_dearest_replies(name: str) -> None:
    penalties = {"invalid_penalty": 0.125, "format_penalty": 0.125} | {name: 0.25}
    env = PlainShaping(gym.make(LAKE), step_cost=0.5, **penalties)
    assert env.reward_range == (-7.5, 1.0), "ten turns at the worst"
    reply = {"invalid_penalty": "fly", "format_penalty": ""}[name]
    env.reset(seed=0)
    assert sum(env.step(reply)[1] for _ in range(10)) == -7.5


def test_without_a_turn_limit_costs_have_no_bound() -> None:
    unlimited = gym.make(LAKE, max_episode_steps=-1)
    assert PlainShaping(unlimited, step_cost=0.1).reward_range == (-math.inf, 1.0)
    assert PlainShaping(unlimited).reward_range == (0.0, 1.0)


@pytest.mark.parametrize("name", ["invalid_penalty", "step_cost", "format_penalty"])
@pytest.mark.parametrize("amount", [-0.1, math.nan, math.inf])
def test_amounts_that_are_no_costs_are_refused(name: str, amount: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 0( and finite)?, got {amount}"):
        PlainShaping(gym.make(LAKE), **{name: amount})
    with pytest.raises(ValueError, match=f"{name} must be a number, got '0.1'"):
        PlainShaping(gym.make(LAKE), **{name: "0.1"})  # type: ignore[arg-type]


# Together -----------------------------------------------------------------------------------------------------------


def test_wrappers_stack_in_any_order() -> None:
    def shaped(*layers: Callable[[gym.Env[str, str]], gym.Env[str, str]]) -> list[Moment]:
        env = gym.make(LAKE)
        for layer in layers:
            env = layer(env)
        return play(env, random_policy(3), index=2)

    def plain(env: gym.Env[str, str]) -> gym.Env[str, str]:
        return PlainShaping(env, step_cost=0.25)

    def potential(env: gym.Env[str, str]) -> gym.Env[str, str]:
        return PotentialShaping(env, weight=0.5)

    one, other, twice = shaped(plain, potential), shaped(potential, plain), shaped(potential, plain, potential)
    for key in KEYS:
        assert [moment.info[key] for moment in one] == [moment.info[key] for moment in other]
    assert [moment.reward for moment in one] == pytest.approx([moment.reward for moment in other], abs=1e-15)
    assert [moment.info[POTENTIAL_KEY] for moment in twice] == [2 * moment.info[POTENTIAL_KEY] for moment in one]
    assert sum(moment.reward for moment in twice) == pytest.approx(
        sum(moment.info["task_reward"] - 0.25 for moment in one[1:]) - one[0].info["potential"]
    )


def test_other_wrappers_see_the_shaped_return() -> None:
    env = RecordEpisodeStatistics(PlainShaping(gym.make(LAKE), step_cost=0.5))
    env.reset(seed=0)
    for _ in range(9):
        env.step("")
    assert env.step("")[4]["episode"]["r"] == -5.0


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments_take_the_wrapper(mode: str) -> None:
    limit: dict[str, Any] = {"max_episode_steps": 3}
    vector: Any = gym.make_vec(LAKE, num_envs=2, vectorization_mode=mode, wrappers=(PotentialShaping,), **limit)
    single = PotentialShaping(gym.make(LAKE, **limit))
    vector.reset(seed=[5, 6])
    _, info = single.reset(seed=6)
    rewards = [vector.step(("fly", "fly"))[1][1] for _ in range(3)]
    assert rewards == [single.step("fly")[1] for _ in range(3)] == [0.0, 0.0, -info["potential"]]
    vector.close()


def test_a_shaped_environment_is_remade_from_its_spec() -> None:
    env = both(gym.make(LAKE))
    spec = env.spec
    assert spec is not None
    again = gym.make(spec)
    assert again.get_wrapper_attr("reward_range") == env.get_wrapper_attr("reward_range") == (-0.7 - 10 * 0.183, 1.0)
    assert play(again, random_policy(1)) == play(env, random_policy(1))
    assert json.loads(spec.to_json())["additional_wrappers"][-1]["kwargs"] == {
        "invalid_penalty": PENALTY,
        "step_cost": COST,
        "format_penalty": FORM,
    }


@pytest.mark.parametrize("kind", [PotentialShaping, PlainShaping])
def test_only_text_environments_are_shaped(kind: Any) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__} needs a TextEnv inside, got CartPoleEnv"):
        kind(gym.make("CartPole-v1"))
    assert text_env(kind(cast("gym.Env[str, str]", gym.make(LAKE)))).reward_range == (0.0, 1.0)
