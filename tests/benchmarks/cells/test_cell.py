"""Cells: what an episode comes to, keys that hold everything that matters, and files that are whole or absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.benchmarks.cells.conftest import cell, player, result, stand

from turngym.agents.episode import Episode, Status, Turn
from turngym.benchmarks.cells import FOLDER, Cell, Outcome, left_over, presentation
from turngym.benchmarks.cells import cell as module
from turngym.benchmarks.cells.cell import read_cell, write_cell
from turngym.benchmarks.games import GameStand


def turn(*, valid: bool = True, cut: bool = False, lenient: bool = False) -> Turn:
    return Turn(observation="", action="", reward=0.0, task_reward=0.0, state_key="", potential=0.0, valid=valid,
                lenient=lenient, span=(0, 5), cut=cut)  # fmt: skip


def episode(*turns: Turn, **others: object) -> Episode:
    made = Episode(env_id="x", split="test", index=3, seed=0, turns=list(turns))
    for name, value in others.items():
        setattr(made, name, value)
    return made


def test_the_outcome_of_an_episode() -> None:
    played = episode(turn(valid=False), turn(lenient=True), turn(), success=True)
    assert Outcome.of(played, 3) == Outcome(instance=3, success=True, turns=3, invalid=1, lenient=1, tokens=15)
    assert Outcome.of(episode(turn(cut=True)), 3).cut
    assert Outcome.of(episode(turn(), status=Status.TRUNCATED_LENGTH), 3).cut


def test_an_error_is_kept_as_one() -> None:
    lost = episode(turn(), success=True, status=Status.ERROR_TIMEOUT, error="too slow")
    assert Outcome.of(lost, "a") == Outcome(instance="a", error="too slow")
    assert Outcome.of(replace(lost, error=""), "a").error == "error_timeout"


def test_a_cell_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    kept = result(True, False, held=1)
    path = write_cell(tmp_path, kept)
    assert path.parent == tmp_path / FOLDER and path.name.startswith("turngym_FrozenLake_v0_size_2_oracle_seed_0-")
    assert read_cell(tmp_path, kept.cell) == kept
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "nothing unfinished is left"


OTHERS: dict[str, Callable[[Cell[GameStand]], Cell[GameStand]]] = {
    "seed": lambda one: replace(one, seed=1),
    "episodes": lambda one: replace(one, episodes=4),
    "first instance": lambda one: replace(one, first=4),
    "split": lambda one: replace(one, split="validation"),
    "agent": lambda one: replace(one, player=player("random")),
    "arguments of the agent": lambda one: replace(one, player=player("oracle", mine=2)),
    "what it reads": lambda one: replace(one, player=replace(one.player, trained_in=(one.stand.env_id, {"view":
                                                                                     "coordinates"}))),
    "environment": lambda one: replace(one, stand=stand("turngym/FrozenLakeWindy-v0")),
    "its arguments": lambda one: replace(one, stand=stand(size=3)),
    "turns": lambda one: replace(one, stand=stand(max_episode_steps=9)),
    "lenience": lambda one: replace(one, lenient=True),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_a_cell_of_another_key_is_not_reused(what: str, tmp_path: Path) -> None:
    kept = result(True, False)
    write_cell(tmp_path, kept)
    other = OTHERS[what](kept.cell)
    assert read_cell(tmp_path, other) is None
    assert left_over(tmp_path, [other.digest]) == [
        f"In no table: 1 file in {tmp_path / FOLDER} of other settings, weights or versions."
    ]
    assert left_over(tmp_path, [kept.cell.digest]) == []


def test_another_version_plays_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cell(tmp_path, result(True))
    monkeypatch.setattr(module, "__version__", "99")
    assert read_cell(tmp_path, cell(episodes=1)) is None


def test_the_name_of_a_row_and_the_slots_of_scripts_do_not_matter(tmp_path: Path) -> None:
    kept = result(True)
    write_cell(tmp_path, kept)
    assert read_cell(tmp_path, replace(kept.cell, player=replace(kept.cell.player, name="ceiling"), slots=3))


@pytest.mark.parametrize("harm", ["", "{", '{"key": 1}', "[]"])
def test_a_damaged_file_is_played_again(harm: str, tmp_path: Path) -> None:
    kept = result(True)
    write_cell(tmp_path, kept).write_text(harm)
    assert read_cell(tmp_path, kept.cell) is None


def test_a_file_whose_content_is_of_another_key_is_not_believed(tmp_path: Path) -> None:
    kept = result(True)
    path = write_cell(tmp_path, kept)
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": {**kept.cell.key, "seed": 7}}))
    assert read_cell(tmp_path, kept.cell) is None


def test_what_an_agent_reads_is_written_out() -> None:
    plain = {"observation_mode": "text", "title_words": 4, "show_actions": False, "history": 0, "reasoning": False}
    assert presentation("turngym/WebShop-v0", {}) == plain
    assert presentation("turngym/WebShop-v0", {"reasoning": True, "num_products": 60}) == {**plain, "reasoning": True}
    gigpo = {**plain, "observation_mode": "quoted", "show_actions": True, "history": 2}
    assert presentation("turngym/WebShopGiGPO-v0", {}) == gigpo
    assert presentation("turngym/WebShopGiGPO-v0", {"history": 0}) == {**gigpo, "history": 0}
    assert presentation("turngym/Countdown-v0", {"reasoning": True, "num_numbers": 4}) == {"reasoning": True}
    reversed_digits = presentation("turngym/MultiplicationSteps-v0", {"digit_order": "least_first"})
    assert reversed_digits == {"digit_order": "least_first", "reasoning": False}


def test_of_what_it_reads_an_environment_takes_what_it_knows() -> None:
    shopper = replace(player(), trained_in=("turngym/WebShop-v0", {"reasoning": True, "history": 3}))
    assert cell(who=shopper).arguments == {"size": 2, "reasoning": True}
