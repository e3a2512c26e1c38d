"""Learners at their start, loops of a few steps, and runs that are cut off and go on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from turngym.agents.episode import Episode
from turngym.agents.language_model import LanguageModel
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint
from turngym.trainers.config import TrainConfig
from turngym.trainers.critic import make_critic
from turngym.trainers.learner import Learner, make_optimizer
from turngym.trainers.loop import learn
from turngym.trainers.objectives import find_objective
from turngym.trainers.prompts.curriculum import make_tracker
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress, SilentProgress
from turngym.trainers.run import prepare_learner, run_stage_two
from turngym.trainers.stage_one.instance_values import estimate_values

ESTIMATES = estimate_values({i: [1.0] * i + [0.0] * (11 - i) for i in range(12)}, 0.5, 1.0, (0.0, 1.0))
SUCCESS_RATES = {i: i / 11 for i in range(12)}


def stage(config: TrainConfig, **settings: Any) -> TrainConfig:
    """Return a run with other settings of stage 2."""
    return replace(config, astarpo=replace(config.astarpo, **settings))


def copied(model: LanguageModel) -> LanguageModel:
    """Return a model with weights of its own."""
    return LanguageModel(copy.deepcopy(model.model), model.tokenizer)


def make_learner(player: LanguageModel, config: TrainConfig) -> Learner:
    """Return a learner at its start, with a pool of twelve instances whose success rates go from 0 to 1."""
    reference = copied(player)
    reference.model.requires_grad_(False)
    critic = make_critic(player) if find_objective(config.astarpo.objective).returns else None
    return Learner(
        policy=player, reference=reference, optimizer=make_optimizer(player, config, critic),
        tracker=make_tracker(ESTIMATES, SUCCESS_RATES, config), pool=range(12), critic=critic,
    )  # fmt: skip


def run(learner: Learner, config: TrainConfig, folder: Path) -> tuple[list[dict[str, Any]], list[Sequence[Episode]]]:
    """Learn to the end; return the numbers and the episodes of every step."""
    numbers: list[dict[str, Any]] = []
    played: list[Sequence[Episode]] = []

    def on_step(step: dict[str, Any], episodes: Sequence[Episode]) -> None:
        numbers.append(step)
        played.append(episodes)

    learn(learner, config, on_step=on_step, failure_file=folder / "failed.jsonl")
    return numbers, played


def fail_on(monkeypatch: pytest.MonkeyPatch, broken: Callable[[int], bool]) -> None:
    """Let some instances fail to start."""
    begin = FrozenLakeEnv._begin

    def begin_or_fail(self: FrozenLakeEnv, split: Any, index: int) -> None:
        if broken(index):
            raise RuntimeError("the ice machine is out of order")
        begin(self, split, index)

    monkeypatch.setattr(FrozenLakeEnv, "_begin", begin_or_fail)


# Runs in a folder -----------------------------------------------------------------------------------------------


class Halted(SilentProgress):
    """Ends the process, as it were, in the third step."""

    done = 0

    def advance(self, n: int = 1, **numbers: float) -> None:
        """Count the steps."""
        self.done += "loss" in numbers
        if self.done == 3:
            raise KeyboardInterrupt


class Ended(NamedTuple):
    """What a run leaves."""

    learner: Learner
    folder: Path
    checkpoint: Path
    files: dict[str, bytes]
    """Of the last checkpoint, by name."""
    lines: list[dict[str, Any]]
    """The metrics, without times."""


def run_both_stages(player: LanguageModel, config: TrainConfig, folder: Path, progress: Progress) -> Learner:
    """Run or finish both stages in a folder, from a copy of the player."""
    metrics = Metrics(folder / "metrics.jsonl")
    learner = prepare_learner(copied(player), config, folder, metrics, SilentProgress())
    run_stage_two(learner, config, folder, metrics, progress)
    return learner


def metric_lines(folder: Path, phase: str = "") -> list[dict[str, Any]]:
    """Return what the metrics of a run hold, or those of a phase, without times."""
    found = [line for line in Metrics(folder / "metrics.jsonl").lines() if phase in ("", line["phase"])]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in found]


def alone_and_halted(player: LanguageModel, config: TrainConfig, tmp_path: Path) -> Iterator[Ended]:
    """Yield what a run leaves that nothing disturbed, then one that was halted in its third step and went on."""
    for folder in (tmp_path / "alone", tmp_path / "halted"):
        folder.mkdir()
        if folder.name == "halted":
            with pytest.raises(KeyboardInterrupt):
                run_both_stages(player, config, folder, Halted())
        learner = run_both_stages(player, config, folder, SilentProgress())
        last = latest_checkpoint(folder / "checkpoints")
        assert last is not None
        files = [*last.rglob("*.safetensors"), last / "optimizer.json", last / "state.json"]
        contents = {str(path.relative_to(last)): path.read_bytes() for path in files}
        yield Ended(learner, folder, last, contents, metric_lines(folder))
