"""A run that is stopped and killed again and again, then resumed, ends with the same bits as one that was left alone.

Run as a program, this file starts or resumes a run in one process after another and lets each of them kill itself at a
given moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.learning.run_contents import contents

from turngym import _durable
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint
from turngym.trainers.config import (
    EnvConfig,
    EvaluationConfig,
    LearningConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
)
from turngym.trainers.interrupt import exit_code, stoppable
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import train
from turngym.trainers.stage_one import sampling

CONFIG = TrainConfig(
    env=EnvConfig(kwargs={"size": 3}),
    model=ModelConfig(
        hidden_size=32, layers=2, heads=2, rope_base=1e4, copying=False, context_length=512, max_reply_tokens=4
    ),
    warm_start=WarmStartConfig(
        success_low=0.1, batch_size=16, learning_rate=5e-3, course_steps=60, check_episodes=50, mistake_rate=0.5
    ),
    values=ValueConfig(instances=24, samples=2, extra_samples=16),
    learning=LearningConfig(steps=7, batch_size=8, warmup_steps=2),
    evaluation=EvaluationConfig(episodes=20),
    run=RunConfig(threads=1, checkpoint_every=3, rollout_slots=16),
)
HANGUP, INTERRUPT, KILL, TERMINATE = 1, 2, 9, 15
WRITING = "writing a checkpoint"

# Phase, work done in it by then, signal, exit status of the process, and the checkpoint it leaves.
MOMENTS: list[tuple[str, int, int, int, str | None]] = [
    ("warm start", 25, KILL, -KILL, None),
    ("warm start", 30, INTERRUPT, 130, None),  # among flawless play
    ("warm start", 50, TERMINATE, 143, None),  # among mistakes
    ("warm start", 55, KILL, -KILL, None),
    ("stage 1: values", 10, TERMINATE, 143, None),
    ("stage 1: values", 10, KILL, -KILL, None),  # within the first block
    ("stage 1: values", 50, KILL, -KILL, None),  # within a round of extra samples
    ("stage 2: astarpo", 2, KILL, -KILL, None),  # before the first checkpoint
    ("stage 2: astarpo", 5, KILL, -KILL, "step-000003"),  # between two
    (WRITING, 0, KILL, -KILL, "step-000003"),
    ("stage 2: astarpo", 5, INTERRUPT, 130, "step-000005"),
    ("stage 2: astarpo", 6, TERMINATE, 143, "step-000006"),
    ("test: base, sampled", 7, HANGUP, 129, "step-000007"),
    ("test: trained, sampled", 7, KILL, -KILL, "step-000007"),
    ("never", 0, KILL, 0, "step-000007"),
]


class Deadly(SilentProgress):
    """Sends its own process a signal once a phase has come so far."""

    def __init__(self, phase: str, work: int, number: int) -> None:
        self.moment, self.work, self.number = phase, work, number

    def phase(self, name: str, total: int | None) -> None:
        self.now, self.done = name, 0

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.done += n
        if self.now == self.moment and self.done == self.work:
            os.kill(os.getpid(), self.number)


def live_and_die(folder: Path, moment: tuple[str, int, int], *, resume: bool) -> None:
    """Train until the moment comes, and end the process."""
    sampling.BLOCK = 20
    if moment[0] == WRITING:
        sync = _durable.sync
        _durable.sync = lambda path: os.kill(os.getpid(), moment[2]) if "checkpoints" in path.parts else sync(path)
    try:
        with stoppable():
            train(CONFIG, folder, Deadly(*moment), resume=resume)
    except KeyboardInterrupt as stop:
        os._exit(exit_code(stop))
    os._exit(0)


def main(folder: Path) -> None:
    """Go through the moments, each in a process of its own, and print how each ended and what it left."""
    for number, (phase, work, sent, _, _) in enumerate(MOMENTS):
        child = os.fork()
        if not child:
            live_and_die(folder, (phase, work, sent), resume=number > 0)
        _, status = os.waitpid(child, 0)
        last = latest_checkpoint(folder / "checkpoints")
        print(json.dumps([os.waitstatus_to_exitcode(status), last.name if last else None]), flush=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_run_killed_at_every_stage_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted, alone = tmp_path / "interrupted", tmp_path / "alone"
    for folder in (interrupted, alone):
        folder.mkdir()
    program = subprocess.run(
        [sys.executable, "-m", "tests.learning.test_resume", str(interrupted)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert program.returncode == 0, program.stderr
    endings = [json.loads(line) for line in program.stdout.splitlines()]
    assert endings == [[status, left] for _, _, _, status, left in MOMENTS]

    monkeypatch.setattr(sampling, "BLOCK", 20)
    train(CONFIG, alone, SilentProgress())
    one, other = contents(interrupted), contents(alone)
    assert [line["step"] for line in one["metrics"] if line["phase"] == "learning"] == [1, 2, 3, 4, 5, 6, 7]
    for part, expected in other.items():
        assert one[part] == expected, part
    for folder in (interrupted, alone):
        assert all(value > 0 for value in json.loads((folder / "result.json").read_text())["seconds"].values())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
