"""A game small enough to see through, for the tests of what all environments share."""

from __future__ import annotations

import numpy as np
import pytest
from tests.envs.five_hooks import FiveHooksEnv

from turngym.envs.core import TextEnv
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split, draw_instance


class GuessEnv(TextEnv):
    """Guess a number below 1000; every wrong guess is told to be too low or too high."""

    @property
    def _rules(self) -> str:
        return "Guess a number from 0 to 999."

    @property
    def instance_key(self) -> str:
        return f"secret={self.secret}"

    def _begin(self, split: Split, index: int) -> None:
        self.secret = draw_instance(split, index, lambda rng: int(rng.integers(1000)), str)
        self.last = -1

    def _observe(self, feedback: str) -> str:
        return feedback or "Which number?"

    def _play(self, action: str) -> tuple[float, bool, str]:
        if not (action.isascii() and action.isdigit() and len(action) <= 3):
            raise InvalidAction("write a number from 0 to 999")
        self.last = int(action)
        if self._success:
            return 1.0, True, "Right."
        return 0.0, False, "Too low." if self.last < self.secret else "Too high."

    @property
    def _state(self) -> str:
        return str(self.last)

    @property
    def _success(self) -> bool:
        return self.last == self.secret

    @property
    def _potential(self) -> float:
        return 0.0 if self.last < 0 else 1 - abs(self.last - self.secret) / 1000

    def sample_action(self, rng: np.random.Generator) -> str:
        return str(rng.integers(1000))

    def oracle_action(self) -> str:
        return str(self.secret)


@pytest.fixture
def five_hooks() -> type[FiveHooksEnv]:
    """A class with the hooks that are required, and with nothing else."""
    return FiveHooksEnv


@pytest.fixture
def guess_env() -> type[GuessEnv]:
    """The class, for tests that configure or break it."""
    return GuessEnv
