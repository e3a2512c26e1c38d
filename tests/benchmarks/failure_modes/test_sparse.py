from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from turngym.benchmarks.algorithms_rows import RESULTS
from turngym.benchmarks.failure_modes import sparse
from turngym.benchmarks.failure_modes.__main__ import main
from turngym.benchmarks.failure_modes.sparse import (
    ENV_ID,
    HORIZON,
    REWARDS,
    VARIANTS,
    SparseRow,
    Variant,
    learn,
    page,
    play,
    read_lakes,
    states,
    success,
    tuned_rate,
)
from turngym.benchmarks.page import read_rows
from turngym.envs import make_env, text_env
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.shaping import potential_gains

COMMITTED = Path(__file__).parents[3] / RESULTS


def uniform(count: int) -> NDArray[np.float64]:
    return np.full((count, sparse.SIZE**2, 4), 0.25)


def test_the_success_of_the_reference_is_that_of_the_environments_random_agent() -> None:
    with closing(make_env(ENV_ID)) as env:
        game = text_env(env)
        assert isinstance(game, FrozenLakeEnv)
        for index in range(3):
            lakes = read_lakes(index, 1)
            env.reset(options={"split": "train", "index": index})
            assert lakes.random == pytest.approx(game.random_success()) == success(lakes, uniform(1))
            assert lakes.optimum == game.optimal_success() == 1.0


@pytest.mark.parametrize("rewards", list(REWARDS))
def test_turn_rewards_are_gains_of_a_potential(rewards: sparse.Rewards) -> None:
    lakes = read_lakes(0, 2)
    lake_B = np.array([0, 1] * 200)
    played = play(lakes, uniform(2), lake_B, np.random.default_rng(0), rewards)
    plain = play(lakes, uniform(2), lake_B, np.random.default_rng(0), "goal")
    assert (played.cell_BK == plain.cell_BK).all() and set(plain.reward_BK.sum(1)) == {0.0, 1.0}
    added = {"goal": np.zeros_like(lakes.potential_LS), "ice": lakes.potential_LS, "straight": lakes.straight_LS}
    for row, visited in enumerate(states(lakes, played)):
        cells = played.cell_BK[row, : len(visited)]
        gains = potential_gains(added[rewards][lake_B[row], cells].tolist())
        paid = played.reward_BK[row] - plain.reward_BK[row]
        np.testing.assert_allclose(paid[: len(visited)], gains, atol=1e-12)
        assert not played.reward_BK[row, len(visited) :].any() and 0 < len(visited) <= HORIZON


def test_with_lambda_0_and_no_values_turn_rewards_lead_to_the_goal_and_the_goal_alone_does_not() -> None:
    lakes = read_lakes(0, 4)
    goal, ice = (list(learn(lakes, Variant("none", 0.0, rewards), 0.3, 0, 40))[-1] for rewards in ("goal", "ice"))
    assert ice > 0.9 and goal < 0.5


def test_learning_repeats_itself_to_the_bit() -> None:
    lakes = read_lakes(0, 2)
    first, second = (list(learn(lakes, Variant("by state", 1.0, "ice"), 0.1, 3, 4)) for _ in range(2))
    assert first == second and first[-1] != pytest.approx(lakes.random)


def test_a_tiny_run_writes_its_page_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    for name, some in (("LAKES", 2), ("BATCH_SIZE", 4), ("STEPS", 2), ("POINTS", 2), ("RATES", (0.1, 0.3)),
                       ("TUNING", (1000,))):  # fmt: skip
        monkeypatch.setattr(sparse, name, some)
    for seeds in (1, 2):
        assert main(["sparse", "--seeds", str(seeds), "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "failure_modes_sparse.csv", SparseRow)
    assert len(rows) == len(VARIANTS) * (2 + 2)
    for variant in VARIANTS:
        runs = sparse.runs_of(rows, variant)
        assert {row.learning_rate for row in runs if row.seed < 2} == {tuned_rate(rows, variant)}
    text = (tmp_path / "failure_modes_sparse.md").read_text()
    assert text == page(rows) and text.count("\n| ") == 1 + 1 + len(VARIANTS)
    assert (tmp_path / "failure_modes_sparse.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_is_what_the_committed_rows_say() -> None:
    rows = read_rows(COMMITTED / "failure_modes_sparse.csv", SparseRow)
    assert page(rows) == (COMMITTED / "failure_modes_sparse.md").read_text(encoding="utf-8")
