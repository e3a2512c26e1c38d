"""A run that is small enough to be rented many times: four steps of a model that knows a little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deploy.job import Job, configured
from tests.learning.run_contents import contents

from turngym.trainers.config import parse_toml, write_toml
from turngym.trainers.launch.training import train

STEPS = 4
PRESET = f"""
[env]
kwargs = {{size = 2, max_episode_steps = 3}}
[model]
hidden_size = 32
layers = 1
heads = 2
copying = false
context_length = 512
max_reply_tokens = 4
[warm_start]
success_low = 0.0
success_high = 1.0
batch_size = 8
learning_rate = 2e-2
course_steps = 40
check_episodes = 8
mistake_rate = 0.3
max_corrections = 0
[values]
instances = 6
samples = 2
extra_samples = 4
[learning]
steps = {STEPS}
batch_size = 8
warmup_steps = 1
[evaluation]
episodes = 4
[run]
name = "rented"
checkpoint_every = 2
"""


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Ask for the run, at a dollar a second, with budget to spare."""
    preset = tmp_path_factory.mktemp("preset") / "frozen_lake.toml"
    preset.write_text(PRESET)
    config = configured(["--preset", str(preset)])
    return Job(name="rented", config=write_toml(config), max_dollars=1e6, price=1.0, start=10.0, reserve=4.0)


def outcome(folder: Path) -> dict[str, Any]:
    """Return what a run leaves, without the checkpoints before the last, which tell where it stopped."""
    left = contents(folder)
    last = f"checkpoints/step-{STEPS:06d}"
    left["files"] = {name: digest for name, digest in left["files"].items()
                     if name.startswith(last) or not name.startswith("checkpoints")}  # fmt: skip
    return left


@pytest.fixture(scope="session")
def alone(job: Job, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the run leaves when nothing stops it."""
    config, root = parse_toml(job.config, source="job"), tmp_path_factory.mktemp("alone")
    left = outcome(train(replace(config, run=replace(config.run, root=str(root)))).folder)
    assert any(line.get("grad_norm") for line in left["metrics"]), "a run that learns nothing would show nothing"
    return left
