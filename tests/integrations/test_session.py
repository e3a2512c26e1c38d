"""A game played turn by turn for trainers that play with functions of their own."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from tests.integrations.games import FAILS, HANGS, TroubleEnv

from turngym._errors import InputError
from turngym.agents import Instance, OracleAgent, collect_episodes
from turngym.envs import register
from turngym.integrations.session import GameError, GameSession, checked_env

SLIPPERY = "turngym/FrozenLakeSlippery-v0"


def instance(index: int, *, split: str = "train", seed: int = 0) -> Instance:
    return Instance(split=split, index=index, seed=seed)


@pytest.fixture(scope="module", autouse=True)
def _trouble() -> None:
    register("tests/Trouble-v0", TroubleEnv, max_turns=4)


def test_it_plays_as_a_rollout_does() -> None:
    asked = [instance(index, split="test", seed=7 + index) for index in range(6)]
    episodes = collect_episodes(OracleAgent(), SLIPPERY, asked)
    assert len({episode.success for episode in episodes}) == 2, "some slip into a hole"
    session = GameSession("FrozenLakeSlippery")
    for episode, one in zip(episodes, asked, strict=True):
        opening = session.begin(one)
        assert opening.instructions == episode.instructions and not session.over
        seen = [opening.observation, *(session.play(turn.action).observation for turn in episode.turns)]
        assert seen == [*(turn.observation for turn in episode.turns), episode.final_observation]
        assert session.turn_rewards == [turn.reward for turn in episode.turns]
        assert (session.over, session.success) == (True, episode.success)
    session.close()


def test_any_thread_may_play() -> None:
    session, seen = GameSession("Multiplication"), []

    def play(call: Any, argument: Any) -> None:
        thread = threading.Thread(target=lambda: seen.append(call(argument)))
        thread.start()
        thread.join()

    play(session.begin, instance(3))
    play(session.play, "no number")
    assert len(seen) == 2 and not seen[1].valid
    session.close()


def test_a_game_that_fails_costs_its_own_episode() -> None:
    session = GameSession("tests/Trouble-v0", step_timeout=0.5)
    session.begin(instance(FAILS))
    with pytest.raises(GameError, match="RuntimeError: the board is broken"):
        session.play("go")
    assert session.over
    with pytest.raises(RuntimeError, match="call begin first"):
        session.play("go")
    session.begin(instance(0))
    assert session.play("go").reward == 0.25
    session.close()


def test_a_game_that_hangs_is_left_behind() -> None:
    session = GameSession("tests/Trouble-v0", step_timeout=0.3)
    session.begin(instance(HANGS))
    began = time.monotonic()
    with pytest.raises(GameError, match=r"no answer within 0\.3 seconds"):
        session.play("go")
    assert time.monotonic() - began < 5.0
    session.begin(instance(0))
    assert [session.play("go").reward for _ in range(4)] == [0.25] * 4 and session.over and session.success
    session.close()


def test_unknown_games_are_refused() -> None:
    assert checked_env("frozenlake", {"size": 3}) == "turngym/FrozenLake-v0"
    with pytest.raises(InputError, match="FrozenLak"):
        GameSession("FrozenLakee")
    with pytest.raises(InputError, match="takes no argument 'sise'"):
        checked_env("FrozenLake", {"sise": 3})
