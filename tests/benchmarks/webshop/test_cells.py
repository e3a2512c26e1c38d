"""Cells: what an episode comes to, keys that hold everything that matters, and files that are whole or absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.benchmarks.webshop.conftest import SMALL, cell, player, stand

from turngym.agents.episode import Episode, Status, Turn
from turngym.benchmarks.webshop import FOLDER, Cell, CellResult, Outcome, left_over
from turngym.benchmarks.webshop import cells as module
from turngym.benchmarks.webshop.cells import read_cell, write_cell

MakeResult = Callable[..., CellResult]


def episode(*, index: int = 3, status: Status = Status.COMPLETED, valid: bool = True, **others: object) -> Episode:
    turn = Turn(observation="", action="", reward=0.0, task_reward=0.0, state_key="", potential=0.0, valid=valid,
                span=(0, 5), cut=False)  # fmt: skip
    made = Episode(env_id="x", split="test", index=index, seed=0, turns=[turn, replace(turn, valid=True)],
                   status=status)  # fmt: skip
    for name, value in others.items():
        setattr(made, name, value)
    return made


def test_the_outcome_of_a_purchase() -> None:
    measures = {"task_score": 0.5, "r_type": 1.0, "r_att": 0.25, "r_price": 1.0}
    came = Outcome.of(episode(index=13, valid=False, measures=measures), num_goals=10)
    assert came == Outcome(goal=3, bought=True, score=0.5, r_type=1.0, r_att=0.25, r_price=1.0, turns=2, invalid=1,
                           tokens=10)  # fmt: skip


def test_without_a_purchase_there_are_no_parts() -> None:
    looked_at = {"task_score": 0.5, "r_type": 1.0, "r_att": 0.25, "r_option": 0.5, "r_price": 1.0}
    came = Outcome.of(episode(status=Status.TRUNCATED_TURNS, measures=looked_at), num_goals=10)
    assert not came.bought and came.score == 0 and came.r_type is came.r_option is None and not came.cut
    assert Outcome.of(episode(status=Status.TRUNCATED_LENGTH), num_goals=10).cut


def test_an_error_is_kept_as_one() -> None:
    came = Outcome.of(episode(status=Status.ERROR_TIMEOUT, error="too slow"), num_goals=10)
    assert came == Outcome(goal=3, error="too slow")


def test_a_cell_is_read_back_as_it_was_written(tmp_path: Path, result: MakeResult) -> None:
    kept = result(1.0, 0.5, 0.0)
    path = write_cell(tmp_path, kept)
    assert path.parent == tmp_path / FOLDER and path.name.startswith("generated_60_products_fixed_oracle_seed_0-")
    read = read_cell(tmp_path, kept.cell)
    assert read is not None and list(read.outcomes) == list(kept.outcomes) and read.seconds == 2.0
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "nothing unfinished is left"


OTHERS: dict[str, Callable[[Cell], Cell]] = {
    "seed": lambda one: replace(one, seed=1),
    "episodes": lambda one: replace(one, episodes=4),
    "split": lambda one: replace(one, split="validation"),
    "agent": lambda one: replace(one, player=player("rule")),
    "arguments of the agent": lambda one: replace(one, player=player("shopper", "oracle", looks=2)),
    "what it reads": lambda one: replace(one, player=replace(one.player, presentation={"history": 1})),
    "protocol": lambda one: replace(one, stand=stand("faithful")),
    "catalogue": lambda one: replace(one, stand=stand(catalogue=type(SMALL).generated(70))),
    "turns": lambda one: replace(one, stand=stand(max_episode_steps=9)),
    "shop": lambda one: replace(one, stand=stand(shop_seed=1)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_cell_of_another_key_is_not_reused(what: str, tmp_path: Path, result: MakeResult) -> None:
    kept = result(1.0, 0.5, 0.0)
    write_cell(tmp_path, kept)
    other = OTHERS[what](kept.cell)
    assert read_cell(tmp_path, other) is None
    assert left_over(tmp_path, [other]) == [
        f"In no table: 1 file in {tmp_path / FOLDER} of other settings, weights or versions."
    ]
    assert left_over(tmp_path, [kept.cell]) == []


def test_another_version_plays_again(tmp_path: Path, result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = result(1.0)
    write_cell(tmp_path, kept)
    monkeypatch.setattr(module, "__version__", "99")
    assert read_cell(tmp_path, cell(episodes=1)) is None


def test_the_name_of_a_row_and_the_slots_of_scripts_do_not_matter(tmp_path: Path, result: MakeResult) -> None:
    kept = result(1.0)
    write_cell(tmp_path, kept)
    assert read_cell(tmp_path, replace(kept.cell, player=replace(kept.cell.player, name="ceiling"), slots=3))


@pytest.mark.parametrize("harm", ["", "{", '{"key": 1}', "[]"])
def test_a_damaged_file_is_played_again(harm: str, tmp_path: Path, result: MakeResult) -> None:
    kept = result(1.0)
    write_cell(tmp_path, kept).write_text(harm)
    assert read_cell(tmp_path, kept.cell) is None


def test_a_file_whose_content_is_of_another_key_is_not_believed(tmp_path: Path, result: MakeResult) -> None:
    kept = result(1.0)
    path = write_cell(tmp_path, kept)
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": {**kept.cell.key, "seed": 7}}))
    assert read_cell(tmp_path, kept.cell) is None
