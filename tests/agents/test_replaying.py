"""Recorded episodes, played again."""

from __future__ import annotations

import pytest

from turngym.agents.evaluation import instance_range
from turngym.agents.replaying import ReplayError, replay
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import HostileAgent, RandomAgent
from turngym.envs import env_ids, make_env


@pytest.mark.parametrize("env_id", env_ids())
@pytest.mark.parametrize("agent", [RandomAgent, HostileAgent])
def test_the_same_actions_lead_the_same_way(env_id: str, agent: type[RandomAgent]) -> None:
    (episode,) = collect_episodes(agent(), env_id, instance_range("test", 1))
    told = list(replay(make_env(env_id), episode))
    assert [info["state_key"] for info in told[:-1]] == [turn.state_key for turn in episode.turns]
    assert [info["potential"] for info in told[:-1]] == [turn.potential for turn in episode.turns]
    assert told[-1]["success"] == episode.success


def test_another_environment_is_noticed() -> None:
    (episode,) = collect_episodes(RandomAgent(), "turngym/FrozenLake-v0", instance_range("test", 1))
    with pytest.raises(ReplayError, match="before turn 1 it shows something else"):
        list(replay(make_env("turngym/FrozenLake-v0", {"size": 5}), episode))
