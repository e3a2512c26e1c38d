"""Rows: means by hand, intervals over goals and over runs, and what can be reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.benchmarks.webshop.conftest import cell, outcome, stand

from turngym.agents.intervals import wilson_interval
from turngym.benchmarks.cells import CellResult
from turngym.benchmarks.webshop import Result, ShopOutcome, ShopStand, repeated, rows_of
from turngym.benchmarks.webshop.rows import ceilings

MakeResult = Callable[..., Result]


def test_a_row_by_hand(result: MakeResult) -> None:
    kept = replace(result(), outcomes=[
        outcome(0, 1.0, r_option=1.0, turns=3, tokens=10),
        outcome(1, 0.5, r_type=0.5, r_option=0.0, r_price=0.0, turns=5, invalid=1, tokens=20, cut=True),
        ShopOutcome(instance=2, turns=15, invalid=10),
        ShopOutcome(instance=3, error="lost"),
    ])  # fmt: skip
    (row,) = rows_of([kept])
    assert (row.success, row.score, row.bought) == (1 / 3, 0.5, 2 / 3)
    assert (row.low, row.high) == wilson_interval(1, 3)
    assert (row.r_type, row.r_att, row.r_option, row.r_price) == (0.75, 0.75, 0.5, 0.5)
    assert (row.turns, row.tokens, row.cut) == (23 / 3, 10.0, 1 / 3)
    assert row.invalid == pytest.approx(11 / 23)
    assert (row.episodes, row.instances, row.errors, row.runs, row.over_runs) == (3, 3, 1, 1, None)


def test_runs_of_one_agent_share_a_row_with_both_intervals(result: MakeResult) -> None:
    scores = [(1.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 0.0)]
    (row,) = rows_of([result(*run, who="random", seed=seed) for seed, run in enumerate(scores)])
    assert (row.runs, row.success, row.instances, row.episodes) == (3, 0.5, 4, 12)
    assert row.over_runs == pytest.approx(4.302653 * 0.25 / 3**0.5)
    once = wilson_interval(6, 12)
    assert row.low < once[0] and row.high > once[1], "four goals say less than twelve episodes"


def test_a_goal_that_always_ends_alike_counts_once(result: MakeResult) -> None:
    (row,) = rows_of([result(1.0, 0.0, who="random", seed=seed) for seed in range(50)])
    assert (row.low, row.high) == pytest.approx(wilson_interval(1, 2))
    assert row.over_runs == 0.0


def test_rows_are_by_stand_and_agent(result: MakeResult) -> None:
    rows = rows_of([result(1.0), result(0.0, who="rule"), result(1.0, protocol="gigpo")])
    assert [(row.protocol, row.agent) for row in rows] == [("fixed", "oracle"), ("fixed", "rule"), ("gigpo", "oracle")]


def test_what_can_be_reached_is_by_the_oracle_and_the_best_script_that_reads(result: MakeResult) -> None:
    weak, strong = result(1.0, 0.0, who="shopper"), result(1.0, 1.0, who="shopper")
    details = replace(strong, cell=replace(strong.cell, player=replace(strong.cell.player, name="shopper-details")))
    found = ceilings(rows_of([result(0.0, 0.0, who="rule"), weak, details, result(1.0, 0.0)]))
    reached = found["generated, 60 products", "fixed"]
    assert {who: (row.agent, row.success) for who, row in reached.items()} == {
        "reader": ("shopper-details", 1.0), "oracle": ("oracle", 0.5),
    }  # fmt: skip
    assert ceilings(rows_of([result(0.0, who="rule")]))["generated, 60 products", "fixed"] == {}


def test_goals_that_are_played_again_are_told() -> None:
    count = stand().num_goals("test")
    made: list[Result] = [
        CellResult(cell=cell(episodes=episodes), outcomes=[], seconds=1.0) for episodes in (count, count + 1)
    ]
    assert repeated(made[:1]) == []
    (sentence,) = repeated(made[1:])
    assert sentence == (f"generated, 60 products, fixed: {count + 1} episodes a run of {count} distinct test goals, so "
                        "that goals were played again; intervals are over distinct goals.")  # fmt: skip


def test_goals_for_unseen_products_are_told_apart(result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShopStand, "unseen_products", lambda self, split: frozenset({1, 3, 9}))
    (row,) = rows_of([result(1.0, 0.0, 1.0, 1.0)])
    assert (row.unseen, row.unseen_goals, row.success) == (0.5, 2, 0.75)
    (row,) = rows_of([result(1.0)])
    assert (row.unseen, row.unseen_goals) == (None, 0)
