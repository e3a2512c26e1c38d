"""The registry of objectives and what each of them is given.

Shapes: B episodes, N sampled tokens of these episodes, K turns (padded with zero reward).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """A micro-batch as an objective sees it."""

    logp_N: Tensor
    """Log-probability of each sampled token under the policy, with gradient."""
    ref_logp_N: Tensor
    """The same under the frozen reference."""
    row_N: Tensor
    """Which episode each token belongs to."""
    turn_N: Tensor
    """Which turn of it, from 0."""
    reward_BK: Tensor
    """Reward of each turn."""
    value_B: Tensor
    """The value of the episode's start: V* of stage 1, or the tracker's estimate."""

    def per_episode(self, x_N: Tensor) -> Tensor:
        """Sum token quantities over each episode, `[B]`."""
        return x_N.new_zeros(len(self.value_B)).index_add(0, self.row_N, x_N)

    def per_turn(self, x_N: Tensor) -> Tensor:
        """Sum token quantities over each turn, `[B, K]`."""
        rows, turns = self.reward_BK.shape
        flat = x_N.new_zeros(rows * turns).index_add(0, self.row_N * turns + self.turn_N, x_N)
        return flat.view(rows, turns)


Loss = Callable[[Samples, float], Tensor]
"""From samples and the KL temperature beta to the loss of each episode, `[B]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One way to learn from episodes."""

    name: str
    """How a configuration names it."""
    loss: Loss
    """The loss function."""
    source: str
    """Paper and equation."""


OBJECTIVES: dict[str, Objective] = {}


def objective(name: str, source: str) -> Callable[[Loss], Loss]:
    """Register a loss function under `name`."""

    def register(loss: Loss) -> Loss:
        OBJECTIVES[name] = Objective(name=name, loss=loss, source=source)
        return loss

    return register


def find_objective(name: str) -> Objective:
    """Return the objective called `name`.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    near = difflib.get_close_matches(name, OBJECTIVES, n=1, cutoff=0.0)[0]
    raise ValueError(f"unknown objective {name!r}; did you mean {near!r}? Known: {', '.join(sorted(OBJECTIVES))}")
