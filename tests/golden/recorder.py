"""A tiny run by every algorithm, in numbers: what a change that computes nothing else must leave as it is.

Run as a program, this file writes what it measured as JSON: `python -m tests.golden.recorder numbers.json`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from turngym.trainers.config import (
    EnvConfig,
    EvaluationConfig,
    LearningConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
    algorithm_names,
    with_algorithm,
)
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import train

CONFIG = TrainConfig(
    env=EnvConfig(id="turngym/FrozenLakeWindy-v0", kwargs={"size": 3}),
    model=ModelConfig(
        hidden_size=32, layers=2, heads=2, rope_base=1e4, copying=False, context_length=512, max_reply_tokens=4
    ),
    warm_start=WarmStartConfig(success_low=0.0, success_high=1.0, batch_size=16, course_steps=60, check_episodes=50),
    values=ValueConfig(instances=32, samples=4, extra_samples=32),
    learning=LearningConfig(steps=6, batch_size=16, fresh_share=0.5, warmup_steps=2),
    evaluation=EvaluationConfig(episodes=4),
    run=RunConfig(threads=1, rollout_slots=16),
)
"""A whole run in two seconds, on lakes of nine fields with wind."""
STEP = ("loss", "grad_norm", "kl", "value", "success")
"""What is kept of a step; `kl` and `value` are absent where an objective has none."""
STAGE_ONE = ("episodes", "success", "value", "prior_strength", "bracket_width")
"""What is kept of a block of stage 1."""


def record(folder: Path, names: list[str]) -> dict[str, Any]:
    """Return the numbers of a warm start of ten steps, of a stage 1, and of six steps by each algorithm.

    Args:
        folder: An empty folder for the runs.
        names: The algorithms.
    """
    torch.set_num_threads(1)
    short = replace(CONFIG, warm_start=replace(CONFIG.warm_start, course_steps=10))
    short = replace(short, learning=replace(short.learning, steps=1))
    lines = run(short, folder / "warm-start")
    numbers: dict[str, Any] = {"warm_start": kept(lines, "warm_start", ("loss", "success"))}
    numbers["warm_start"]["weights"] = weights(folder / "warm-start" / "base")
    base = folder / "base-run"
    run(replace(CONFIG, learning=replace(CONFIG.learning, steps=1)), base)
    for name in names:
        own = folder / name
        own.mkdir()
        shutil.copytree(base / "base", own / "base")
        lines = run(with_algorithm(CONFIG, name), own)
        if name == "astarpo":
            numbers["stage_one"] = kept(lines, "values", STAGE_ONE)
        numbers[name] = kept(lines, "learning", STEP)
        numbers[name]["weights"] = weights(own / "checkpoints" / "step-000006" / "policy")
    return numbers


def run(config: TrainConfig, folder: Path) -> list[dict[str, Any]]:
    """Train in a folder and return the lines of its metrics."""
    folder.mkdir(exist_ok=True)
    train(config, folder, SilentProgress())
    return Metrics(folder / "metrics.jsonl").lines()


def kept(lines: list[dict[str, Any]], phase: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the named numbers of a phase, each as a list over the lines that have it."""
    columns = {name: [line[name] for line in lines if line["phase"] == phase and name in line] for name in names}
    return {name: column for name, column in columns.items() if column}


def weights(policy: Path) -> str:
    """Return the SHA-256 of saved weights."""
    return hashlib.sha256((policy / "model.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        recorded = record(Path(scratch), algorithm_names())
    Path(sys.argv[1]).write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
