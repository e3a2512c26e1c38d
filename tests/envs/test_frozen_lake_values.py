"""Optimum and floor of frozen lakes, against hand computation, brute force and published families."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.envs.toy_text import frozen_lake
from tests.envs.lake_families import family_success

from turngym.envs.frozen_lake_maps import transition_table
from turngym.envs.frozen_lake_values import Dynamics, Table, random_values, solve
from turngym.envs.splits import SPLITS

BAY = ("SFFH", "FHFF", "FFFG", "FFFF")


def dynamics(rows: tuple[str, ...] = BAY, success_rate: float = 1.0) -> Dynamics:
    return Dynamics.from_table(transition_table(rows, success_rate))


def best(table: Table, cell: int, left: int) -> float:
    """The optimum by plain recursion over the table."""
    if left == 0:
        return 0.0
    return max(
        sum(
            float(p) * (reward + (0.0 if end else best(table, following, left - 1)))
            for p, following, reward, end in outcomes
        )
        for outcomes in table[cell].values()
    )


def test_transitions_are_distributions() -> None:
    arrays = dynamics(success_rate=0.8)
    assert arrays.transitions_SAN.sum(axis=-1) == pytest.approx(np.ones((16, 4)))
    assert arrays.rewards_SA.max() == pytest.approx(0.8)


def test_two_cells_by_hand() -> None:
    table = frozen_lake.FrozenLakeEnv(desc=["SG"], is_slippery=False).P
    arrays = Dynamics.from_table(table)
    assert solve(arrays, 1).values_HS[:, 0].tolist() == [0.0, 1.0]
    assert random_values(arrays, 1)[0] == 0.25
    assert random_values(arrays, 2)[0] == 0.25 + 0.75 * 0.25
    assert random_values(arrays, 0)[0] == 0.0


@pytest.mark.parametrize("success_rate", [1 / 3, 0.8, 1.0])
def test_solution_equals_recursion(success_rate: float) -> None:
    rows = ("SFH", "FFF", "HFG")
    table = transition_table(rows, success_rate)
    values_HS = solve(dynamics(rows, success_rate), 4).values_HS
    for left in range(5):
        assert values_HS[left] == pytest.approx([best(table, cell, left) for cell in range(9)])


def test_following_the_policy_earns_the_value() -> None:
    arrays = dynamics(success_rate=0.6)
    solution = solve(arrays, 12)
    values_S = np.zeros(16)
    for left in range(1, 13):
        values_S = arrays.move_values(values_S)[np.arange(16), solution.policy_HS[left]]
        assert values_S == pytest.approx(solution.values_HS[left])


def test_more_moves_never_hurt_and_nobody_beats_the_optimum() -> None:
    arrays = dynamics(success_rate=1 / 3)
    values_HS = solve(arrays, 20).values_HS
    assert (np.diff(values_HS, axis=0) >= -1e-12).all()
    assert (random_values(arrays, 20) <= values_HS[20] + 1e-12).all()
    assert solve(arrays, 20).horizon == 20


def test_ties_go_to_the_direct_way() -> None:
    """With moves to spare every way succeeds surely; the policy must still take the five moves it needs."""
    arrays = dynamics()
    solution = solve(arrays, 30)
    cell, moves = 0, 0
    while cell != 11:
        cell = int(arrays.transitions_SAN[cell, solution.policy_HS[30 - moves, cell]].argmax())
        moves += 1
    assert moves == 5


@pytest.mark.parametrize(
    ("arguments", "optimal", "random"),
    [
        ({"success_rate": 1 / 3}, 0.500, 0.215),
        ({"success_rate": 0.8, "frozen_probability": 0.9}, 0.952, 0.252),
        ({"frozen_probability": 0.9}, 1.000, 0.252),
        ({"success_rate": 1 / 3, "corners": True}, 0.105, 0.015),
        ({"success_rate": 0.8, "corners": True}, 0.786, 0.015),
    ],
)
def test_families_have_the_values_computed_elsewhere(
    arguments: dict[str, float | bool], optimal: float, random: float
) -> None:
    success = family_success(arguments, "train", 1200)
    assert success.optimal == pytest.approx(optimal, abs=0.015)
    assert success.random == pytest.approx(random, abs=0.015)
    assert success.optimal_error < 0.01 and success.random_error < 0.01 and success.instances == 1200


def test_splits_are_equally_hard() -> None:
    by_split = [family_success("turngym/FrozenLakeSlippery-v0", split, 800) for split in SPLITS]
    assert [success.optimal for success in by_split] == pytest.approx([0.5] * 3, abs=0.025)
    assert [success.random for success in by_split] == pytest.approx([0.215] * 3, abs=0.025)
