"""Episodes as pictures: played again and drawn, or it is said why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from turngym.agents.evaluation import instance_range
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import OracleAgent, RandomAgent
from turngym.envs import make_env, register
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers.viewing.pictures import replayed


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [("turngym/FrozenLakeSlippery-v0", {}), ("turngym/CountdownSteps-v0", {}), ("turngym/Countdown-v0", {}),
     ("turngym/Multiplication-v0", {}), ("turngym/MultiplicationSteps-v0", {"digit_order": "least_first"}),
     ("turngym/WebShop-v0", {"num_products": 50, "observation_mode": "compact"})],
)  # fmt: skip
def test_every_turn_is_drawn(env_id: str, kwargs: dict[str, Any]) -> None:
    episodes = collect_episodes(RandomAgent(), env_id, instance_range("test", 3), env_kwargs=kwargs)
    for episode, shown in zip(episodes, replayed(episodes), strict=True):
        assert not shown.why_not and len(shown.drawings) == len(episode.turns) + 1
        assert shown.potentials[:-1] == [turn.potential for turn in episode.turns]


def test_an_episode_that_goes_otherwise_now_is_drawn_as_far_as_it_was() -> None:
    episodes = collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instance_range("test", 2))
    episodes[0].turns[1].observation = "another lake"
    episodes[1].final_observation = "another end"
    first, second = replayed(episodes)
    assert len(first.drawings) == 1 and first.why_not == "before turn 2 it shows something else than was seen then"
    assert len(second.drawings) == len(episodes[1].turns) and second.why_not.startswith("in the end it shows")


def test_a_game_of_somebody_else_stays_text(own_code: Path) -> None:
    register("mine/Bare-v0", type("BareEnv", (FrozenLakeEnv,), {"drawing": None}), max_turns=3)
    register("mine/Broken-v0", type("BrokenEnv", (FrozenLakeEnv,), {"drawing": lambda env: 1 / 0}), max_turns=3)
    for env_id, why in (("mine/Bare-v0", "BareEnv draws none"),
                        ("mine/Broken-v0", "the environment failed: ZeroDivisionError")):  # fmt: skip
        (shown,) = replayed(collect_episodes(RandomAgent(), env_id, instance_range("test", 1)))
        assert shown.drawings == [] and shown.why_not.startswith(why)


def test_an_environment_that_is_not_here_is_said(own_code: Path) -> None:
    episodes = collect_episodes(RandomAgent(), "turngym/FrozenLake-v0", instance_range("test", 1))
    episodes[0].env_id = "nobody/Game-v0"
    (shown,) = replayed(episodes)
    assert shown.why_not.startswith("the environment cannot be made here: ") and shown.drawings == []
    episodes[0].env_kwargs = {"url": "http://127.0.0.1:1"}
    assert "on a server" in replayed(episodes)[0].why_not
    assert replayed([]) == []
    assert make_env("turngym/FrozenLake-v0").unwrapped is not None
