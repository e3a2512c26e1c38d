"""Runs of four kinds, each killed thirteen times at moments drawn by a seed, end with the bits of runs left alone.

A moment is some progress of the run, counted in reports and in writes to the disk, and up to 20 ms more. Run as a
program, this file goes through one kind and prints what was left of the run left alone and of the one that was killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.learning.run_contents import contents

from turngym import _durable
from turngym.trainers.config import (
    CurriculumConfig,
    EnvConfig,
    EvaluationConfig,
    LearningConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
    with_algorithm,
    with_overrides,
)
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import train
from turngym.trainers.stage_one import sampling
from turngym.trainers.warm_start import checkpoints as course_checkpoints

KILLS = 13
SHARE = 5
"""The most progress between two kills, as a part of the whole run: one part of so many."""
WARM = TrainConfig(
    env=EnvConfig(kwargs={"size": 2}),
    model=ModelConfig(hidden_size=32, layers=1, heads=2, copying=False, context_length=512, max_reply_tokens=4),
    warm_start=WarmStartConfig(
        success_low=0.0,
        success_high=0.01,
        batch_size=8,
        learning_rate=1e-2,
        course_steps=30,
        check_episodes=20,
        max_corrections=1,
    ),
    values=ValueConfig(instances=16, samples=2, extra_samples=8),
    learning=LearningConfig(steps=6, batch_size=8, warmup_steps=2),
    evaluation=EvaluationConfig(episodes=8),
    run=RunConfig(threads=1, checkpoint_every=2, rollout_slots=8),
)
"""A warm start whose success is above its band, so that it has a correction."""
COLD = replace(WARM, warm_start=replace(WARM.warm_start, enabled=False))
EASIER = CurriculumConfig(levels=[{"frozen_probability": 0.9}])
KINDS: dict[str, TrainConfig] = {
    "astarpo with a warm start": WARM,
    "grpo": with_overrides(with_algorithm(COLD, "grpo"), {"objective": {"group_size": 4}}),
    "ppo with a critic and minibatches": with_overrides(with_algorithm(COLD, "ppo"), {"learning": {"minibatches": 2}}),
    "values of states, easier levels and resets": replace(
        with_algorithm(COLD, "astarpo_lambda"), curriculum=EASIER, learning=replace(COLD.learning, reset_every=3)
    ),
}


class Counted(SilentProgress):
    """Counts all that is reported, and calls a function at a moment."""

    def __init__(self, moment: int, strike: Callable[[], object]) -> None:
        self.count, self._moment, self._strike = 0, moment, strike

    def tick(self) -> None:
        self.count += 1
        if self.count == self._moment:
            self._strike()

    def phase(self, name: str, total: int | None) -> None:
        self.tick()

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.tick()


def live(config: TrainConfig, folder: Path, progress: Counted) -> None:
    """Start or resume a run; each write to the disk counts as progress too."""
    sync = _durable.sync

    def counted(path: Path) -> None:
        progress.tick()
        sync(path)

    _durable.sync = counted
    train(config, folder, progress, resume=(folder / "metrics.jsonl").exists())


def kill_at(config: TrainConfig, folder: Path, moment: int, delay: float) -> bool:
    """Run a run in a process of its own and kill it; return whether it was still there to be killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        live(config, folder, Counted(moment, partial(os.write, writer, b"!")))
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def main(folder: Path, kind: str) -> None:
    """Run one kind alone and killed; print how often it was killed, and what both left."""
    sampling.BLOCK, course_checkpoints.PAUSE, course_checkpoints.PAUSE_FACTOR = 16, 0.0, 1.0
    config, rng = KINDS[kind], np.random.default_rng([*KINDS].index(kind))
    alone, killed = folder / "alone", folder / "killed"
    for each in (alone, killed):
        each.mkdir()
    whole = Counted(-1, lambda: None)
    live(config, alone, whole)
    kills = 0
    while kills < KILLS:
        moment = int(rng.integers(1, whole.count // SHARE))
        kills += kill_at(config, killed, moment, float(rng.uniform(0.0, 0.02)))
    child = os.fork()
    if not child:
        live(config, killed, Counted(-1, lambda: None))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(json.dumps([kills, contents(killed), contents(alone)]))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    program = subprocess.run(
        [sys.executable, "-m", "tests.learning.test_kill_sweep", str(tmp_path), kind],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert program.returncode == 0, program.stderr
    kills, killed, alone = json.loads(program.stdout)
    assert kills == KILLS
    for part, expected in alone.items():
        assert killed[part] == expected, part
    assert {line["step"] for line in alone["metrics"] if line["phase"] == "learning"} == {1, 2, 3, 4, 5, 6}
    assert len([line for line in alone["metrics"] if line["phase"] == "warm_start"]) == (2 if "warm" in kind else 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
