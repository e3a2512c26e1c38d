"""Playing: real episodes in a small shop, and a run that goes on where it was killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.benchmarks.webshop.conftest import cell, player, stand

from turngym.agents.base import Agent, Reply
from turngym.agents.registry import make_agent
from turngym.agents.scripted import OracleAgent
from turngym.benchmarks.webshop import FOLDER, Cell, plan, play_cells
from turngym.trainers.reporting.progress import SilentProgress


def play(cells: Sequence[Cell], folder: Path) -> list[list[float]]:
    """Return the scores of cells."""
    return [[outcome.score for outcome in result.outcomes] for result in play_cells(cells, folder, SilentProgress())]


def test_the_score_is_the_share_of_the_wish_whatever_the_reward(tmp_path: Path) -> None:
    graded, binary = play_cells(
        [cell(stand("faithful"), player("rule"), episodes=12), cell(stand("gigpo"), player("rule"), episodes=12)],
        tmp_path, SilentProgress(),
    )  # fmt: skip
    assert [one.score for one in graded.outcomes] == [one.score for one in binary.outcomes]
    assert any(0 < one.score < 1 for one in graded.outcomes)
    assert all(one.bought and one.turns == 3 and one.r_price in (0.0, 1.0) for one in graded.outcomes)


def test_the_oracle_fulfills_every_part(tmp_path: Path) -> None:
    (result,) = play_cells([cell(episodes=12)], tmp_path, SilentProgress())
    for one in result.outcomes:
        assert one.success and one.score == one.r_type == one.r_att == one.r_price == 1.0 and one.r_option in (None, 1)
        assert one.invalid == 0 and not one.error
    assert [one.goal for one in result.outcomes] == list(range(12))


def test_a_plan_plays_each_distinct_goal_once_and_draws_where_there_is_chance() -> None:
    at = stand()
    cells = list(plan([at], [player("oracle"), player("random")], seeds=[0, 1], split="test", episodes=0, slots=4))
    assert [(one.player.name, one.seed) for one in cells] == [("oracle", 0), ("random", 0), ("random", 1)]
    assert {one.episodes for one in cells} == {at.num_goals("test")}
    few = list(plan([at], [player()], seeds=[3], split="validation", episodes=5, slots=4))
    assert [(one.episodes, one.split, one.seed) for one in few] == [(5, "validation", 3)]


def test_more_episodes_than_goals_play_goals_again(tmp_path: Path) -> None:
    count = stand().num_goals("test")
    (result,) = play_cells([cell(episodes=count + 2)], tmp_path, SilentProgress())
    assert [one.goal for one in result.outcomes] == [*range(count), 0, 1]


class Killing(SilentProgress):
    """Ends the process in the third episode of the second cell."""

    def __init__(self) -> None:
        self.reports = 0

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.reports += n
        if self.reports == 9:
            raise KeyboardInterrupt


def counting(made: list[str], name: str, agent: str) -> Cell:
    """Return a cell whose agent is noted when it is made."""

    def make(slots: int) -> Agent:
        made.append(name)
        return make_agent(agent)

    return cell(who=replace(player(agent, name), make=make))


def test_a_killed_run_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    made: list[str] = []
    first, last = counting(made, "first", "oracle"), counting(made, "last", "random")
    with pytest.raises(KeyboardInterrupt):
        play_cells([first, last], tmp_path / "one", Killing())
    assert len(list((tmp_path / "one" / FOLDER).iterdir())) == 1
    went_on = play([first, last], tmp_path / "one")
    assert made == ["first", "last", "last"], "the finished cell is not played again"
    assert went_on == play([first, last], tmp_path / "another")


def test_an_agent_is_made_once_for_the_cells_that_follow_each_other(tmp_path: Path) -> None:
    made: list[str] = []
    one = counting(made, "one", "random")
    play([one, replace(one, seed=1), replace(one, stand=stand("faithful"))], tmp_path)
    assert made == ["one"]


class Mute(OracleAgent):
    """An agent that cannot be made to reply."""

    def act(self, slots: Sequence[int]) -> list[Reply]:
        raise RuntimeError("no words")


def test_what_fails_is_an_error_of_its_episode_and_is_kept(tmp_path: Path) -> None:
    lost = cell(who=replace(player(), make=lambda slots: Mute()), episodes=2)
    (result,) = play_cells([lost], tmp_path, SilentProgress())
    assert [one.error for one in result.outcomes] == ["RuntimeError: no words"] * 2
