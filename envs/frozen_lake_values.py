"""What is possible on a frozen lake: the best agent and the random walker, by finite-horizon value iteration.

A success probability means little without these two beside it: on a slippery 4x4 lake with ten moves the best possible
agent succeeds half the time, and a random walker one time in five.

Array names end in their axes: H moves left (0 to the horizon), S cells in row order, A moves, N cells moved to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = Mapping[int, Mapping[int, list[tuple[float, int, float, bool]]]]
"""Gymnasium's `P[state][action]`: a list of (probability, next state, reward, terminated)."""

TIE = 1e-9
"""Success probabilities closer than this are equal but for rounding."""


@dataclass(frozen=True)
class Dynamics:
    """A transition table as arrays. Terminal cells lead to themselves and pay nothing."""

    transitions_SAN: NDArray[np.float64]
    """Probability of moving to each cell."""
    rewards_SA: NDArray[np.float64]
    """Expected reward of a move."""

    @classmethod
    def from_table(cls, table: Table) -> Dynamics:
        """Read Gymnasium's `P`."""
        cells, moves = len(table), len(table[0])
        transitions_SAN = np.zeros((cells, moves, cells))
        rewards_SA = np.zeros((cells, moves))
        for cell, by_move in table.items():
            for move, outcomes in by_move.items():
                for probability, following, reward, _ in outcomes:
                    transitions_SAN[cell, move, following] += probability
                    rewards_SA[cell, move] += probability * reward
        return cls(transitions_SAN, rewards_SA)

    def move_values(self, values_S: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value of every move, shape (S, A), when cells are worth `values_S` afterwards."""
        return self.rewards_SA + self.transitions_SAN @ values_S


@dataclass(frozen=True)
class Solution:
    """The best possible play for every number of moves left."""

    values_HS: NDArray[np.float64]
    """Probability of reaching the goal."""
    policy_HS: NDArray[np.int64]
    """The best move; of equally good ones, that which is also good in a hurry. The row of no moves left is unused."""

    @property
    def horizon(self) -> int:
        """The most moves left that this solution answers for."""
        return len(self.values_HS) - 1


def solve(dynamics: Dynamics, horizon: int) -> Solution:
    """Solve a lake for 0 to `horizon` moves left.

    With moves to spare, wandering about is as good as going straight. Ties are therefore broken by the success
    probability summed over all shorter and longer horizons, which the direct way maximises.
    """
    values_HS = np.zeros((horizon + 1, len(dynamics.rewards_SA)))
    moves_HSA = np.zeros((horizon + 1, *dynamics.rewards_SA.shape))
    for left in range(1, horizon + 1):
        moves_HSA[left] = dynamics.move_values(values_HS[left - 1])
        values_HS[left] = moves_HSA[left].max(axis=-1)
    best_HSA = moves_HSA >= values_HS[..., None] - TIE
    policy_HS = np.where(best_HSA, moves_HSA.sum(axis=0), -np.inf).argmax(axis=-1)
    return Solution(values_HS, policy_HS)


def random_values(dynamics: Dynamics, horizon: int) -> NDArray[np.float64]:
    """Return the success probability of `horizon` uniformly random moves from every cell, shape (S,)."""
    values_S = np.zeros(len(dynamics.rewards_SA))
    for _ in range(horizon):
        values_S = dynamics.move_values(values_S).mean(axis=-1)
    return values_S
