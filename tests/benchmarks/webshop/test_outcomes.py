"""What comes of episodes in the shop, and what tells their cells apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.benchmarks.webshop.conftest import SMALL, cell, player, stand

from turngym.agents.episode import Episode, Status, Turn
from turngym.benchmarks.cells import Cell, play_cells
from turngym.benchmarks.webshop import Result, ShopOutcome, ShopStand
from turngym.benchmarks.webshop.outcomes import shop_outcome
from turngym.trainers.reporting.progress import SilentProgress


def episode(*, index: int = 3, status: Status = Status.COMPLETED, valid: bool = True, **others: object) -> Episode:
    turn = Turn(observation="", action="", reward=0.0, task_reward=0.0, state_key="", potential=0.0, valid=valid,
                span=(0, 5), cut=False)  # fmt: skip
    made = Episode(env_id="x", split="test", index=index, seed=0, turns=[turn, replace(turn, valid=True)],
                   status=status)  # fmt: skip
    for name, value in others.items():
        setattr(made, name, value)
    return made


def play(*cells: Cell[ShopStand], folder: Path) -> list[Result]:
    return play_cells(cells, folder, SilentProgress())


def test_the_outcome_of_a_purchase() -> None:
    measures = {"task_score": 0.5, "r_type": 1.0, "r_att": 0.25, "r_price": 1.0}
    came = shop_outcome(episode(index=13, valid=False, measures=measures), num_goals=10)
    assert came == ShopOutcome(instance=3, bought=True, score=0.5, r_type=1.0, r_att=0.25, r_price=1.0, turns=2,
                               invalid=1, tokens=10)  # fmt: skip


def test_without_a_purchase_there_are_no_parts() -> None:
    looked_at = {"task_score": 0.5, "r_type": 1.0, "r_att": 0.25, "r_option": 0.5, "r_price": 1.0}
    came = shop_outcome(episode(status=Status.TRUNCATED_TURNS, measures=looked_at), num_goals=10)
    assert not came.bought and came.score == 0 and came.r_type is came.r_option is None and not came.cut
    assert shop_outcome(episode(status=Status.TRUNCATED_LENGTH), num_goals=10).cut


def test_an_error_is_kept_as_one() -> None:
    came = shop_outcome(episode(status=Status.ERROR_TIMEOUT, error="too slow"), num_goals=10)
    assert came == ShopOutcome(instance=3, error="too slow")


OTHERS: dict[str, Callable[[Cell[ShopStand]], Cell[ShopStand]]] = {
    "arguments of the agent": lambda one: replace(one, player=player("shopper", "oracle", looks=2)),
    "what it reads": lambda one: replace(one, player=replace(one.player, trained_in=("turngym/WebShop-v0", {"history":
                                                                                                           1}))),
    "protocol": lambda one: replace(one, stand=stand("faithful")),
    "catalogue": lambda one: replace(one, stand=stand(catalogue=type(SMALL).generated(70))),
    "turns": lambda one: replace(one, stand=stand(max_episode_steps=9)),
    "shop": lambda one: replace(one, stand=stand(shop_seed=1)),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_what_decides_what_comes_of_it_is_in_the_key(what: str) -> None:
    assert OTHERS[what](cell()).digest != cell().digest == cell(stand()).digest


def test_the_score_is_the_share_of_the_wish_whatever_the_reward(tmp_path: Path) -> None:
    graded, binary = play(cell(stand("faithful"), player("rule"), episodes=12),
                          cell(stand("gigpo"), player("rule"), episodes=12), folder=tmp_path)  # fmt: skip
    assert [one.score for one in graded.outcomes] == [one.score for one in binary.outcomes]
    assert any(0 < one.score < 1 for one in graded.outcomes)
    assert all(one.bought and one.turns == 3 and one.r_price in (0.0, 1.0) for one in graded.outcomes)


def test_the_oracle_fulfills_every_part(tmp_path: Path) -> None:
    (result,) = play(cell(episodes=12), folder=tmp_path)
    for one in result.outcomes:
        assert one.success and one.score == one.r_type == one.r_att == one.r_price == 1.0 and one.r_option in (None, 1)
        assert one.invalid == 0 and not one.error
    assert [one.instance for one in result.outcomes] == list(range(12))


def test_more_episodes_than_goals_play_goals_again(tmp_path: Path) -> None:
    count = stand().num_goals("test")
    (result,) = play(cell(episodes=count + 2), folder=tmp_path)
    assert [one.instance for one in result.outcomes] == [*range(count), 0, 1]
