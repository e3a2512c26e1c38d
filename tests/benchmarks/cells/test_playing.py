"""Playing: a plan, and a run that goes on at the episode at which it was killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks.cells.conftest import cell, player, stand

from turngym._errors import InputError
from turngym.agents.base import Agent, Reply
from turngym.agents.episode import read_episodes
from turngym.agents.registry import make_agent
from turngym.agents.scripted import OracleAgent
from turngym.benchmarks.cells import FOLDER, Cell, CellResult, left_over, plan, play_cells, sentences
from turngym.benchmarks.games import GameStand
from turngym.trainers.reporting.progress import SilentProgress


def play(cells: Sequence[Cell[GameStand]], folder: Path) -> list[CellResult[GameStand, Any]]:
    return play_cells(cells, folder, SilentProgress())


def plain(results: Sequence[CellResult[GameStand, Any]]) -> list[Any]:
    """Return what came of cells, without their time."""
    return [result.outcomes for result in results]


def test_a_plan_draws_where_there_is_chance_and_leaves_out_who_cannot_play() -> None:
    at = [stand(), stand("turngym/Countdown-v0")]
    picky = replace(player("rule"), able=lambda one: "Lake" in one.env_id)
    cells = list(plan(at, [player(), picky, player("random")], seeds=[3, 4], split="validation", slots=4, first=7,
                      episodes=lambda one: 5 if "Lake" in one.env_id else 6))  # fmt: skip
    assert [(one.stand.env_id.partition("/")[2], one.player.name, one.seed, one.episodes) for one in cells] == [
        ("FrozenLake-v0", "oracle", 3, 5), ("FrozenLake-v0", "rule", 3, 5), ("FrozenLake-v0", "random", 3, 5),
        ("FrozenLake-v0", "random", 4, 5), ("Countdown-v0", "oracle", 3, 6), ("Countdown-v0", "random", 3, 6),
        ("Countdown-v0", "random", 4, 6),
    ]  # fmt: skip
    assert {(one.split, one.first) for one in cells} == {("validation", 7)}


class Killing(SilentProgress):
    """Ends the process in the third episode of the second cell."""

    def __init__(self) -> None:
        self.reports = 0

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.reports += n
        if self.reports == 9:
            raise KeyboardInterrupt


def counting(made: list[str], name: str, agent: str) -> Cell[GameStand]:
    """Return a cell whose agent is noted when it is made."""

    def make(slots: int) -> Agent:
        made.append(name)
        return make_agent(agent)

    return cell(who=replace(player(agent, name), make=make))


def test_a_killed_run_goes_on_at_the_episode_and_comes_to_the_same(tmp_path: Path) -> None:
    made: list[str] = []
    first, last = counting(made, "first", "oracle"), counting(made, "last", "random")
    one, another = tmp_path / "one", tmp_path / "another"
    with pytest.raises(KeyboardInterrupt):
        play_cells([first, last], one, Killing())
    whole, unfinished = sorted((one / FOLDER).iterdir(), key=lambda path: path.suffix)
    assert whole.suffix == ".json" and unfinished.name == f"{last.digest}.episodes.jsonl"
    held = list(read_episodes(unfinished))
    assert len(held) == 3
    assert left_over(one, [first.digest]) and not left_over(one, [first.digest, last.digest])
    went_on = play([first, last], one)
    assert made == ["first", "last", "last"], "the finished cell is not played again"
    assert [result.held for result in went_on] == [0, 3] and not unfinished.exists()
    assert plain(went_on) == plain(play([first, last], another))
    (note,) = sentences(went_on)
    assert note == f"{last.stand.title}, last: 3 of 6 episodes were played before a stop; seconds are of the others."
    assert [result.held for result in play([first, last], one)] == [0, 3], "as it was kept"


def test_a_stop_behind_the_last_episode_leaves_no_file_of_them(tmp_path: Path) -> None:
    (result,) = play([cell()], tmp_path)
    unfinished = tmp_path / FOLDER / f"{result.cell.digest}.episodes.jsonl"
    unfinished.write_text("")
    assert plain(play([cell()], tmp_path)) == plain([result]) and not unfinished.exists()


def test_a_damaged_file_of_episodes_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    path = tmp_path / FOLDER / f"{cell().digest}.episodes.jsonl"
    path.write_text("{}\n")
    with pytest.raises(InputError, match=r"episodes.jsonl:1: not an episode: 'schema'; delete the file, and its cell"):
        play([cell()], tmp_path)


def test_an_agent_is_made_once_for_the_cells_that_follow_each_other(tmp_path: Path) -> None:
    made: list[str] = []
    one = counting(made, "one", "random")
    play([one, replace(one, seed=1), replace(one, stand=stand(size=3))], tmp_path)
    assert made == ["one"]


class Mute(OracleAgent):
    """An agent that cannot be made to reply."""

    def act(self, slots: Sequence[int]) -> list[Reply]:
        raise RuntimeError("no words")


def test_what_fails_is_an_error_of_its_episode_and_is_kept(tmp_path: Path) -> None:
    lost = cell(who=replace(player(), make=lambda slots: Mute()), episodes=2)
    (result,) = play([lost], tmp_path)
    assert [one.error for one in result.outcomes] == ["RuntimeError: no words"] * 2
    (note,) = sentences([result])
    assert note.endswith(", oracle: 2 of 2 episodes ended in an error, the first with RuntimeError: no words.")
