"""Stage 2 at its start, loops of a few steps, and runs that are cut off and go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers.baselines.baseline import InstanceBaseline, make_baseline
from turngym.trainers.batches import make_batch
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint
from turngym.trainers.config import TrainConfig, Valued, with_algorithm
from turngym.trainers.learner import Learner, TrainStep
from turngym.trainers.loop import Loop
from turngym.trainers.monitoring.alarms import kinds_read
from turngym.trainers.monitoring.monitors import Monitors
from turngym.trainers.objectives import StepParams, find_objective
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.references import References
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress, SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run import TrainingRun
from turngym.trainers.schedules import Schedule
from turngym.trainers.stage_one.instance_values import estimate_values
from turngym.trainers.stage_one.stage import StageOneResult

ESTIMATES = estimate_values({i: [1.0] * i + [0.0] * (11 - i) for i in range(12)}, 0.5, 1.0, (0.0, 1.0))
SUCCESS_RATES = {i: i / 11 for i in range(12)}
STAGE_ONE = StageOneResult(pool=range(12), estimates=ESTIMATES, success_rates=SUCCESS_RATES)
"""A pool of twelve instances whose success rates go from 0 to 1."""


def with_learning(config: TrainConfig, algorithm: str | None = None, **settings: Any) -> TrainConfig:
    """Return a run by an algorithm, with other settings of its objective or of stage 2, whichever has them."""
    config = config if algorithm is None else with_algorithm(config, algorithm)
    own = {part.name for part in fields(config.objective)} & settings.keys()
    objective = replace(config.objective, **{name: settings.pop(name) for name in own})
    return replace(config, objective=objective, learning=replace(config.learning, **settings))


def copied(model: LanguageModel) -> LanguageModel:
    """Return a model with weights of its own."""
    return model.copy()


def make_loop(model: LanguageModel, config: TrainConfig) -> Loop:
    """Return stage 2 at its start, after the stage 1 of twelve instances; it has no folder to reset a reference in."""
    objective, easier = find_objective(config.objective.name), len(config.curriculum.levels)
    baseline = None
    if isinstance(config.objective, Valued):
        baseline = make_baseline(config.objective, STAGE_ONE, config.values, easier=easier, middle=0.5)
    return Loop(
        rollouts=Rollouts.of(config),
        prompts=PromptSampler.of(config, STAGE_ONE.pool),
        successes=SuccessTracker(STAGE_ONE, easier=easier),
        baseline=baseline,
        shaping=None,
        references=References(Path("nowhere"), copied(model)),
        learner=Learner(model, objective, config.learning, seed=config.run.seed),
        schedule=Schedule(config.learning, config.objective, config.monitors.rollback_learning_rate),
        monitors=Monitors(config.monitors, config.shaping, kinds=kinds_read(objective, validates=False), easier=easier),
    )


def instance_baseline(loop: Loop) -> InstanceBaseline:
    """Return the baseline of a loop that knows instances."""
    assert isinstance(loop.baseline, InstanceBaseline)
    return loop.baseline


def run(loop: Loop, folder: Path, steps: int | None = None) -> tuple[list[dict[str, Any]], list[Sequence[Episode]]]:
    """Learn to the end, or as if that came after so many steps; return the numbers and the episodes of every step."""
    numbers: list[dict[str, Any]] = []
    played: list[Sequence[Episode]] = []

    def on_step(step: dict[str, Any], episodes: Sequence[Episode]) -> None:
        numbers.append(step)
        played.append(episodes)

    learning = loop.schedule.learning
    if steps is not None:
        loop.schedule.learning = replace(learning, steps=steps)
    loop.run_round(on_step, folder / "failed.jsonl")
    loop.schedule.learning = learning
    return numbers, played


def learn_from(loop: Loop, episodes: Sequence[Episode], step: StepParams[Any]) -> TrainStep:
    """Take a step on some episodes, with the values of the loop as they are."""
    batch = make_batch(episodes, loop.learner.policy)
    if loop.baseline is not None:
        batch = replace(batch, value_BK=loop.baseline.values(batch, episodes))
    return loop.learner.train_step(batch, episodes, loop.references.current, step, loop.schedule.moment())


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

    loop: Loop
    folder: Path
    checkpoint: Path
    files: dict[str, bytes]
    """Of the last checkpoint, by name."""
    lines: list[dict[str, Any]]
    """The metrics, without times."""


def run_both_stages(model: LanguageModel, config: TrainConfig, folder: Path, progress: Progress) -> Loop:
    """Run or finish both stages in a folder, from a copy of the model."""
    training = TrainingRun(copied(model), config, folder, Metrics(folder / "metrics.jsonl"), progress)
    training.learn()
    return training.loop


def metric_lines(folder: Path, phase: str = "") -> list[dict[str, Any]]:
    """Return what the metrics of a run hold, or those of a phase, without times."""
    found = [line for line in Metrics(folder / "metrics.jsonl").lines() if phase in ("", line["phase"])]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in found]


def total(metrics: Metrics, phase: str, name: str) -> int:
    """Return the sum of a count over the lines of a phase that have it."""
    return sum(line.get(name, 0) for line in metrics.lines() if line["phase"] == phase)


def alone_and_halted(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> Iterator[Ended]:
    """Yield what a run leaves that nothing disturbed, then one that was halted in its third step and went on."""
    for folder in (tmp_path / "alone", tmp_path / "halted"):
        folder.mkdir()
        if folder.name == "halted":
            with pytest.raises(KeyboardInterrupt):
                run_both_stages(model, config, folder, Halted())
        loop = run_both_stages(model, config, folder, SilentProgress())
        last = latest_checkpoint(folder / "checkpoints")
        assert last is not None
        files = [*last.rglob("*.safetensors"), last / "optimizer.json", last / "state.json"]
        contents = {str(path.relative_to(last)): path.read_bytes() for path in files}
        yield Ended(loop, folder, last, contents, metric_lines(folder))
