"""What tests of commands share: an environment of somebody else, and a trainer that only pretends to learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import pytest
from tests.cli.pretended import InstallTrainer, Trainer
from tests.envs.five_hooks import FiveHooksEnv

from turngym.trainers.config import TrainConfig
from turngym.trainers.reporting.progress import Progress


@pytest.fixture
def five_hooks_id() -> Iterator[str]:
    """An environment without oracle and random agent, found by the name FiveHooks."""
    gym.register("turngym/FiveHooks-v0", cast("Any", FiveHooksEnv), max_episode_steps=3)
    yield "turngym/FiveHooks-v0"
    del gym.registry["turngym/FiveHooks-v0"]


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InstallTrainer:
    """Return a function that puts a trainer in place; it returns the list of its calls' `resume`.

    What is checked before a run begins is left out, but for the tests of that very thing.
    """
    from turngym.trainers.launch import checking, training

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checking, "check_base", lambda config: None)

    def install(trainer: Trainer) -> list[bool]:
        calls: list[bool] = []

        def train(
            config: TrainConfig, folder: Path, progress: Progress, *, resume: bool = False, trackers: Any = ()
        ) -> dict[str, Any]:
            calls.append(resume)
            return trainer(config, folder, progress)

        monkeypatch.setattr(training, "train_in_folder", train)
        return calls

    return install
