"""Environments and agents: what counts as an instance, floor and optimum of the same, and one table in three files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks.cells.conftest import cell, player, result, stand

from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.intervals import wilson_interval
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import RandomAgent
from turngym.benchmarks import games
from turngym.benchmarks.cells import plan, play_cells
from turngym.benchmarks.games import GameOutcome, GameRow, GameStand, Optimum, find_optima, rows_of, write_report
from turngym.trainers.reporting.progress import SilentProgress

SLIPPERY = "turngym/FrozenLakeSlippery-v0"
KNOWN = {stand().title: Optimum(rate=0.8, at_least=0.8)}


def play(at: Sequence[GameStand], who: Sequence[str], folder: Path, **others: Any) -> list[games.Result]:
    cells = plan(at, list(map(player, who)), split="test", episodes=lambda _: 12, slots=8,
                 **({"seeds": [0]} | others))  # fmt: skip
    return play_cells(list(cells), folder, SilentProgress())


def test_a_row_is_what_evaluate_says_of_the_same_instances(tmp_path: Path) -> None:
    (played,) = play([stand(SLIPPERY)], ["random"], tmp_path)
    score = score_episodes(
        collect_episodes(RandomAgent(), SLIPPERY, instance_range("test", 12), env_kwargs={"size": 2}), 0.0)  # fmt: skip
    (row,) = rows_of([played], {played.cell.stand.title: Optimum(rate=0.5)})
    assert (row.success, (row.low, row.high)) == (score.rate, score.interval) and row.instances == score.instances != 12
    assert (row.mean_return, row.turns) == (score.mean_return, score.mean_turns)
    assert (row.floor, row.share) == (row.success, row.success / 0.5)


def test_instances_are_the_same_for_all_seeds(tmp_path: Path) -> None:
    one, other = play([stand("turngym/Countdown-v0")], ["random"], tmp_path, seeds=[0, 1])
    assert [a.instance for a in one.outcomes] == [b.instance for b in other.outcomes]
    (row,) = rows_of([one, other], {one.cell.stand.title: Optimum()})
    assert row.runs == 2 and row.episodes == 2 * row.instances == 24 and row.over_runs is not None


def test_a_game_that_knows_how_many_instances_it_has_plays_none_twice() -> None:
    shop = GameStand(env="turngym/WebShop-v0", kwargs={"num_products": 60})
    count = shop.num_episodes("test", 10_000)
    assert 1 < count < 100 and shop.num_episodes("test", 2) == 2
    assert stand().num_episodes("test", 10_000) == 10_000


def test_floor_optimum_and_share_of_a_row() -> None:
    rows = rows_of([result(True, False, False, True, at=cell(who=player("random"))), result(True, True, True, False)],
                   KNOWN)  # fmt: skip
    assert [(row.agent, row.success, row.floor, row.optimum, row.share) for row in rows] == [
        ("random", 0.5, 0.5, 0.8, 0.625), ("oracle", 0.75, 0.5, 0.8, 0.75 / 0.8)]  # fmt: skip
    assert (rows[0].low, rows[0].high) == wilson_interval(2, 4) and rows[0].turn_limit == 10
    (alone,) = rows_of([result(True)], {stand().title: Optimum(at_least=0.5)})
    assert (alone.floor, alone.optimum, alone.optimum_at_least, alone.share) == (None, None, 0.5, None)


def test_the_optimum_is_of_the_same_instances_and_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [stand(SLIPPERY), stand("turngym/Countdown-v0")]
    first = find_optima(at, tmp_path, SilentProgress(), split="test", episodes=lambda _: 8)
    assert 0.3 < (first[at[0].title].rate or 0) < 1 and first[at[1].title].rate == 1
    monkeypatch.setattr("turngym.benchmarks.games.optima.optimal_rate", None)
    assert find_optima(at, tmp_path, SilentProgress(), split="test", episodes=lambda _: 8) == first
    with pytest.raises(TypeError):
        find_optima(at, tmp_path, SilentProgress(), split="test", episodes=lambda _: 9)


def test_where_some_optima_are_unknown_their_sum_is_a_bound(tmp_path: Path) -> None:
    shop = GameStand(env="turngym/WebShopGiGPO-v0", kwargs={"num_products": 200})
    count = shop.num_episodes("test", 1_000)
    (bound,) = find_optima([shop], tmp_path, SilentProgress(), split="test", episodes=lambda _: count).values()
    (oracle,) = play_cells(list(plan([shop], [player()], seeds=[0], split="test", episodes=lambda _: count, slots=9)),
                           tmp_path, SilentProgress())  # fmt: skip
    solved = sum(one.success for one in oracle.outcomes)
    assert 0 < solved < count and bound.rate is None and bound.at_least == solved / count
    assert str(bound) == f"{solved / count:.3f} at least" and str(Optimum()) == "unknown"


def test_all_files_hold_the_same_rows(tmp_path: Path) -> None:
    odd = result(True, False, at=cell(stand(SLIPPERY), player("rule", "a|b")))
    results = [result(True, False, at=cell(who=player("random"))), result(True, True), odd]
    optima = {**KNOWN, odd.cell.stand.title: Optimum(at_least=0.25, note="One is unknown")}
    write_report(tmp_path, results, optima, "turngym bench games --slots 2")
    text = (tmp_path / "games.md").read_text()
    rows = rows_of(results, optima)
    read = list(csv.DictReader(io.StringIO((tmp_path / "games.csv").read_text())))
    kept = json.loads((tmp_path / "games.json").read_text())
    assert len(rows) == len(read) == 3 and [GameRow(**entry) for entry in kept["rows"]] == rows
    assert [line["success"] for line in read] == ["0.5", "1.0", "0.5"] and read[2]["floor"] == ""
    assert [entry["digest"] for entry in kept["cells"]] == [one.cell.digest for one in results]
    assert "| environment | turns | random | oracle | a\\|b | optimum |" in text
    assert "| `turngym/FrozenLake-v0, size = 2` | 10 | 0.500 | 1.000 |  | 0.800 |" in text
    assert "| `turngym/FrozenLakeSlippery-v0, size = 2` | 10 |  |  | 0.500 | 0.250 at least |" in text
    for row in rows:
        assert f"| {' | '.join(games.row_cells(row))} |" in text
    assert text.count("<!-- turngym bench games --slots 2 -->") == 2
    assert f"{odd.cell.stand.title}: One is unknown." in text


def test_an_error_counts_in_nothing_else() -> None:
    lost = result(True, True)
    lost = type(lost)(cell=lost.cell, outcomes=[*lost.outcomes[:1], GameOutcome(instance="b", error="lost")],
                      seconds=1.0)  # fmt: skip
    (row,) = rows_of([lost], KNOWN)
    assert (row.success, row.errors, row.episodes, row.mean_return) == (1.0, 1, 1, 1.0)
