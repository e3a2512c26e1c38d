"""What limits and isolation of environments cost, and what failing environments cost the others.

A lake that takes as long for a step as it is told is played by the random agent, in the thread of the caller, with a
limit, and in worker processes; then with one instance in a hundred failing, in every way that the place survives.

    python -m turngym.benchmarks.isolation --episodes 2000

It prints one line for each case: seconds (the least of the repetitions), episodes with and without error, and the loss
against the same case without faults.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import gymnasium as gym

from turngym.agents.evaluation import instance_range
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import RandomAgent
from turngym.envs import register
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.splits import Split

BUSY_LAKE = "benchmarks/BusyLake-v0"
RATE = 100
"""One instance in so many fails."""
PLACES: dict[str, dict[str, Any]] = {
    "no limit": {"step_timeout": math.inf},
    "limit": {"step_timeout": 1.0},
    "1 process": {"step_timeout": 1.0, "isolate": 1},
    "2 processes": {"step_timeout": 1.0, "isolate": 2},
}
FAULTS = {"no limit": ("raise",), "limit": ("raise", "hang"), "2 processes": ("raise", "hang", "exit")}


class BusyLakeEnv(FrozenLakeEnv):
    """A lake whose steps take processor time, and whose every hundredth instance fails at its first step.

    Args:
        milliseconds: Time of a step.
        fault: "raise", "hang" or "exit"; empty for none.
    """

    def __init__(self, *, milliseconds: float = 0.0, fault: str = "", split: Split = "train") -> None:
        super().__init__(split=split)
        self.milliseconds, self.fault = milliseconds, fault
        self.index = 0

    def _begin(self, split: Split, index: int) -> None:
        self.index = index
        super()._begin(split, index)

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self.fault and self.index % RATE == RATE // 2:
            fail(self.fault)
        end = time.perf_counter() + self.milliseconds / 1000
        while time.perf_counter() < end:
            pass
        return super()._play(action)


def fail(fault: str) -> NoReturn:
    """Raise, hang, or end the process."""
    if fault == "hang":
        time.sleep(3600)
    if fault == "exit":
        os._exit(0)
    raise RuntimeError("the ice is too thin")


def measure(place: str, milliseconds: float, fault: str, episodes: int, repetitions: int) -> tuple[float, int]:
    """Return the least seconds of some repetitions, and the number of errors."""
    seconds, errors = math.inf, 0
    for _ in range(repetitions):
        began = time.perf_counter()
        played = collect_episodes(
            RandomAgent(), BUSY_LAKE, instance_range("train", episodes),
            env_kwargs={"milliseconds": milliseconds, "fault": fault}, **PLACES[place],
        )  # fmt: skip
        seconds = min(seconds, time.perf_counter() - began)
        errors = sum(episode.status.is_error() for episode in played)
    return seconds, errors


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--milliseconds", type=float, nargs="+", default=[0.0, 2.0])
    options = parser.parse_args(words)
    register(BUSY_LAKE, BusyLakeEnv, max_turns=20)
    try:
        for milliseconds in options.milliseconds:
            for place in PLACES:
                clean = 0.0
                for fault in ("", *FAULTS.get(place, ())):
                    seconds, errors = measure(place, milliseconds, fault, options.episodes, options.repetitions)
                    clean = clean or seconds
                    loss = f", {seconds / clean - 1:+.0%}" if fault else ""
                    print(f"{milliseconds:g} ms a step, {place}, {fault or 'no fault'}: {seconds:.2f} s, "
                          f"{options.episodes - errors} episodes and {errors} errors{loss}", flush=True)  # fmt: skip
    finally:
        del gym.registry[BUSY_LAKE]


if __name__ == "__main__":
    from turngym.benchmarks import isolation

    isolation.main()  # worker processes find the lake by the name of this module
