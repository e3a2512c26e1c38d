from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from turngym.benchmarks import optimism
from turngym.benchmarks.algorithms_rows import RESULTS
from turngym.benchmarks.optimism import HEAD, HORIZON, Lake, main, outcome
from turngym.envs import make_env, text_env
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers.baselines.states import State, StateValues

LAKES = [Lake(0.2, "train", index) for index in range(4)]


def test_the_success_of_the_oracle_and_of_the_random_walker_are_those_of_the_environment() -> None:
    with closing(make_env("turngym/FrozenLake-v0", {"success_rate": 0.8})) as env:
        game = text_env(env)
        assert isinstance(game, FrozenLakeEnv)
        for index, lake in enumerate(LAKES):
            env.reset(options={"split": "train", "index": index})
            oracle_HSA = np.eye(4)[lake.reference_HSA.argmax(-1)]
            assert lake.success(oracle_HSA) == pytest.approx(game.optimal_success())
            assert lake.success(np.full_like(lake.reference_HSA, 0.25)) == pytest.approx(game.random_success())


def test_the_reference_earns_what_it_should() -> None:
    for lake in LAKES:
        turns = list(lake.play(4000, np.random.default_rng(0)))
        assert sum(turn.reward for turn in turns) / 4000 == pytest.approx(lake.success(lake.reference_HSA), abs=0.025)
        episodes = [turn for turn in turns if turn.turn == 0]
        assert [turn.sample for turn in episodes] == [*range(4000)]
        assert {turn.potential for turn in episodes} == {lake.potential_S[lake.start]}
        assert max(turn.turn for turn in turns) < HORIZON


def test_the_fixed_point_prefers_moves_to_cells_that_are_worth_more() -> None:
    lake = LAKES[0]
    values = StateValues()
    for turn in range(HORIZON):
        for potential in set(lake.potential_S.tolist()):
            values.add(State("", turn, potential), potential, 1000)
    assert lake.success(lake.fixed_point(values)) > lake.success(lake.reference_HSA) + 0.1


def test_optimism_takes_visits_and_costs_success() -> None:
    held_out = [Lake(2 / 3, "validation", index) for index in range(24)]
    few, many = (outcome([Lake(2 / 3, "train", index) for index in range(24)], held_out, episodes, seed=0)
                 for episodes in (120, 12_000))  # fmt: skip
    assert few.visits < 2 and many.visits > 20
    assert few.optimistic_value < many.optimistic_value - 0.1
    assert many.soft_value < many.optimistic_value - 0.2
    assert many.soft_success > many.optimistic_success + 0.02


def test_the_page_has_a_row_for_each_lake(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert main(["--episodes", "96", "--repetitions", "2", "--held-out", "2", "--out", str(page)]) == 0
    rows = [line.split(" | ") for line in page.read_text().splitlines()[-3:]]
    assert [cells[0] for cells in rows] == ["| FrozenLake", "| FrozenLakeWindy", "| FrozenLakeSlippery"]
    assert all(cells[1] == "96" and len(cells) == len(optimism.COLUMNS) for cells in rows)


def test_the_committed_page_begins_as_the_code_writes_it() -> None:
    committed = Path(__file__).parents[2] / RESULTS / "optimism.md"
    assert committed.read_text(encoding="utf-8").startswith(f"{HEAD}\n| {' | '.join(optimism.COLUMNS)} |\n")


def test_every_lake_is_played() -> None:
    with pytest.raises(ValueError, match="3 episodes are too few for 4 lakes"):
        outcome(LAKES, LAKES, 3, seed=0)
