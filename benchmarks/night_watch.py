"""A game with long observations and short replies, in which reading dominates: made for measuring, not for learning."""

from __future__ import annotations

import numpy as np

from turngym import envs
from turngym.envs.core import TextEnv
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import SPLITS, Split

ENV_ID = "turngym-benchmarks/NightWatch-v0"
DOORS = 10
ROUNDS = 10
ACTIONS = tuple(f"close door {door}" for door in range(DOORS))


class NightWatchEnv(TextEnv):
    """Close the one open door of ten, ten rounds long; a stream of about 450 tokens with the built-in tokenizer."""

    @property
    def _rules(self) -> str:
        return f"In each of {ROUNDS} rounds one door stands open. Close it, for example: close door 3"

    @property
    def instance_key(self) -> str:
        """The doors that stand open, round by round."""
        return f"open={self.open}"

    def _begin(self, split: Split, index: int) -> None:
        rng = np.random.default_rng([SPLITS.index(split), index])
        self.open: list[int] = rng.integers(DOORS, size=ROUNDS).tolist()
        self.round = 0
        self.closed = 0

    def _observe(self, feedback: str) -> str:
        if self.round == ROUNDS:
            return feedback
        states = (f"Door {door} is {'open' if door == self.open[self.round] else 'shut'}." for door in range(DOORS))
        return " ".join([feedback, *states]).strip()

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self.round == ROUNDS:
            raise InvalidAction("the night is over")
        if action not in ACTIONS:
            raise InvalidAction("name a door")
        hit = action == self.oracle_action()
        self.closed += hit
        self.round += 1
        over = self.round == ROUNDS
        return hit / ROUNDS, over, f"Morning comes; you closed {self.closed} doors." if over else ""

    @property
    def _state(self) -> str:
        return f"{self.round},{self.closed}"

    @property
    def _success(self) -> bool:
        return self.closed == ROUNDS

    @property
    def _potential(self) -> float:
        return self.closed / ROUNDS

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw any door."""
        return ACTIONS[rng.integers(DOORS)]

    def oracle_action(self) -> str:
        """Name the open door."""
        return ACTIONS[self.open[min(self.round, ROUNDS - 1)]]


def register() -> None:
    """Register the game, outside the namespace of the suite; a second time changes nothing."""
    envs.register(ENV_ID, "turngym.benchmarks.night_watch:NightWatchEnv", max_turns=ROUNDS)
