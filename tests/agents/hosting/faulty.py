"""A game whose unlucky instances fail as they are told to, for tests and for worker processes, which import it."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Mapping
from typing import Any, NoReturn, cast

import numpy as np

from turngym.envs import InvalidAction, TextEnv, register
from turngym.envs.splits import Split

FAULTY = "faulty/Stairs-v0"


class FaultyStairs(TextEnv):
    """Climb some stairs. At `place`, every `rate`-th instance does what `fault` says.

    Args:
        fault: One of `FAULTS`, or empty.
        place: "make", "reset", "step", "oracle", "sample", "optimum", "instructions" or "close".
        rate: Every how many instances.
    """

    _rules = "Say up."

    def __init__(self, *, fault: str = "", place: str = "step", rate: int = 100, split: Split = "train") -> None:
        super().__init__(split=split)
        self.fault, self.place, self.rate = fault, place, rate
        self.index, self.height = 0, 0
        self._fail_at("make")

    def _fail_at(self, place: str) -> None:
        unlucky = place == "make" or self.index % self.rate == self.rate - 1
        if place == self.place and unlucky and self.fault in FAULTS:
            FAULTS[self.fault]()

    @property
    def instance_key(self) -> str:
        return f"stairs {self.index}"

    def _begin(self, split: Split, index: int) -> None:
        self.index, self.height = index, 0
        self.slippery = index % 2 == 1
        self._fail_at("reset")

    def _observe(self, feedback: str) -> str:
        return f"{feedback} Stair {self.height} of {self.index % 3 + 1}.".strip()

    def _play(self, action: str) -> tuple[float, bool, str]:
        self._fail_at("step")
        if action != "up":
            raise InvalidAction("say up")
        if not (self.slippery and self.np_random.random() < 0.3):
            self.height += 1
        return float(self._success), self._success, "Good."

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.index % self.rate == self.rate - 1:
            reward = ODD_REWARDS.get(self.fault, reward)
        return observation, reward, terminated, truncated, info

    @property
    def instructions(self) -> str:
        self._fail_at("instructions")
        return super().instructions

    @property
    def _success(self) -> bool:
        return self.height == self.index % 3 + 1

    def sample_action(self, rng: np.random.Generator) -> str:
        self._fail_at("sample")
        return ("up", "down")[int(rng.integers(2))]

    def oracle_action(self) -> str:
        self._fail_at("oracle")
        unknown = self.fault == "none" and self.index % self.rate == self.rate - 1
        return "up" if not unknown else cast("str", None)

    def optimal_success(self) -> float | None:
        self._fail_at("optimum")
        return 1.0

    def close(self) -> None:
        self._fail_at("close")


def _raise() -> NoReturn:
    raise RuntimeError("a stair broke")


def _exit() -> NoReturn:
    raise SystemExit(0)


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _spin() -> NoReturn:
    while True:
        pass


FAULTS = {
    "raise": _raise,
    "exit": _exit,
    "interrupt": _interrupt,
    "hang": lambda: time.sleep(60),
    "spin": _spin,
    "leave": lambda: os.chdir("/"),
    "os exit": lambda: os._exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}
"""What happens, by name; beside them there are `ODD_REWARDS`."""
ODD_REWARDS: Mapping[str, float] = {"nan": math.nan, "infinity": -math.inf}


def register_faulty() -> None:
    """Register the stairs, with a limit of 8 turns."""
    register(FAULTY, FaultyStairs, max_turns=8)
