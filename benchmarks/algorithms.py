"""Every objective on the same tasks, from the same bases, at equal generated tokens, stage 1 included.

    python -m turngym.benchmarks.algorithms tune --folder runs/algorithms
    python -m turngym.benchmarks.algorithms run --folder runs/algorithms
    python -m turngym.benchmarks.algorithms_report

`tune` tries each objective with a few learning rates on validation instances, with a seed of its own; `run` compares
them on test instances. Both take hours, append one line per run to a CSV file, and pass over what it holds already,
so they go on where they stopped. Bases are made once per task and seed, in the folder.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import tyro

from turngym.agents.base import Agent
from turngym.agents.evaluation import instance_range, optimal_rate
from turngym.agents.scripted import RandomAgent
from turngym.benchmarks.algorithm_tasks import (
    ABLATIONS,
    COMPARED,
    GAMES,
    SELFPLAY,
    SELFPLAY_TASKS,
    SHAPED,
    SUBJECT,
    TASKS,
    Task,
    Variant,
    base_config,
    run_config,
)
from turngym.benchmarks.algorithms_rows import COMPARISON, TUNING, Row
from turngym.benchmarks.page import append_rows, read_rows
from turngym.trainers.base_model import prepare_base
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run import TrainingRun
from turngym.trainers.sweeps import Done, Work, Workers, share_base

TUNING_SEED = 100
TUNING_SHARE = 0.6
"""Of a task's budget of tokens."""
CURVE_POINTS = 12


# One run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run to be done."""

    task: str
    algorithm: str
    seed: int
    learning_rate: float
    share: float
    split: str
    folder: Path
    """Where bases are kept."""

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What the run is known by in a result file."""
        return self.task, self.algorithm, self.seed, self.learning_rate


def variant_of(algorithm: str) -> Variant:
    """Return what a run of this name learns by."""
    return (COMPARED | ABLATIONS | SHAPED | SELFPLAY)[algorithm]


def task_of(name: str) -> Task:
    """Return the task of a name."""
    return (TASKS | SELFPLAY_TASKS)[name]


def base_folder(folder: Path, task: str, seed: int) -> Path:
    """Return where the base of a seed is kept."""
    return folder / f"{task}-seed{seed}"


def make_base(base: tuple[Path, str, int, str]) -> list[Row]:
    """Make a base unless it is there, and measure it beside random play and the optimum.

    Args:
        base: The folder of all bases, the task, the seed, and the split to measure on.
    """
    folder, task, seed, split = base
    config = base_config(task_of(task), seed)
    torch.set_num_threads(config.run.threads)
    place = base_folder(folder, task, seed)
    place.mkdir(parents=True, exist_ok=True)
    model = prepare_base(config, place, Metrics(place / "metrics.jsonl"), SilentProgress())
    count = config.evaluation.episodes
    rollouts = Rollouts.of(config)
    agents: list[tuple[str, Agent]] = [("random", RandomAgent()), ("base", rollouts.agent(model))]
    rates = {name: success(agent, rollouts, split, count) for name, agent in agents}
    optimum = optimal_rate(config.env.id, instance_range(split, count), config.env.kwargs).rate
    if optimum is not None:
        rates["optimum"] = optimum
    return [Row(task=task, algorithm=name, seed=seed, learning_rate=0.0, episodes=count, success=rate, tokens=0,
                stage_one_tokens=0, steps=0, seconds=0.0) for name, rate in rates.items()]  # fmt: skip


def run_job(job: Job) -> Row:
    """Learn, and measure on held-out instances."""
    return learned(job)[0]


def learned(job: Job) -> tuple[Row, list[dict[str, Any]]]:
    """Learn, measure on held-out instances, and return that with the metrics of every step."""
    config = run_config(
        task_of(job.task), variant_of(job.algorithm), seed=job.seed, learning_rate=job.learning_rate, share=job.share
    )
    torch.set_num_threads(config.run.threads)
    with TemporaryDirectory() as name:
        folder = Path(name)
        share_base(base_folder(job.folder, job.task, job.seed), folder)
        metrics = Metrics(folder / "metrics.jsonl")
        began = time.process_time()
        base = prepare_base(config, folder, metrics, SilentProgress())
        run = TrainingRun(base, config, folder, metrics, SilentProgress())
        run.learn()
        seconds = time.process_time() - began
        steps = [line for line in metrics.lines() if line["phase"] == "learning"]
    rollouts, schedule, count = run.loop.rollouts, run.loop.schedule, config.evaluation.episodes
    agent = rollouts.agent(run.loop.learner.policy)
    row = Row(
        task=job.task, algorithm=job.algorithm, seed=job.seed, learning_rate=job.learning_rate,
        episodes=count, success=success(agent, rollouts, job.split, count), tokens=schedule.generated_tokens,
        stage_one_tokens=schedule.stage_one_tokens, steps=schedule.step, seconds=round(seconds, 1),
        curve=curve_text(steps, "success", round(job.share * task_of(job.task).max_tokens)),
    )  # fmt: skip
    return row, steps


def success(agent: Agent, rollouts: Rollouts, split: str, count: int) -> float:
    """Return the share of the first `count` instances of a split that an agent solves."""
    return fmean(episode.success for episode in rollouts.play(agent, instance_range(split, count)))


def curve_text(steps: Sequence[dict[str, Any]], measure: str, max_tokens: int) -> str:
    """Return the curve of a measure as a result file has it; nothing where no step has it."""
    steps = [line for line in steps if measure in line]
    return " ".join(f"{point:.3f}" for point in curve(steps, max_tokens, measure)) if steps else ""


def curve(steps: Sequence[dict[str, Any]], max_tokens: int, measure: str = "success") -> Iterator[float]:
    """Yield the mean of a measure of steps in equal parts of the budget; what has no step has the one before."""
    ends = np.linspace(0, max_tokens, CURVE_POINTS + 1)[1:]
    last = steps[0][measure] if steps else float("nan")
    for low, high in zip([0.0, *ends[:-1]], ends, strict=True):
        part = [line[measure] for line in steps if low < line["generated_tokens"] <= high]
        last = fmean(part) if part else last
        yield last


# The comparison -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Try every objective with a few learning rates on validation instances."""

    folder: Path = Path("runs/algorithms")
    """Where bases are kept."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """On which tasks."""
    algorithms: tuple[str, ...] = tuple(COMPARED)
    """Which objectives."""
    jobs: int = 2
    """Runs at once, of one thread each."""
    out: Path = TUNING
    """The result file."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Compare objectives on test instances, each with the learning rate that did best in tuning."""

    folder: Path = Path("runs/algorithms")
    """Where bases are kept."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """On which tasks."""
    algorithms: tuple[str, ...] = tuple(COMPARED)
    """Which of `COMPARED`, `ABLATIONS` and `SHAPED`."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each makes a base of its own, which all share."""
    jobs: int = 2
    """Runs at once, of one thread each."""
    tuning: Path = TUNING
    """The result file of `tune`."""
    out: Path = COMPARISON
    """The result file."""


def tuning_means(rows: Sequence[Row], algorithm: str, game: Sequence[str]) -> dict[float, float]:
    """Return, by learning rate, the success of an objective in tuning, a mean over the tasks of a game.

    Raises:
        ValueError: It was not tuned there with all rates.
    """
    success = {(row.task, row.learning_rate): row.success for row in rows if row.algorithm == algorithm}
    rates = TASKS[game[0]].learning_rates
    for task in game:
        if any((task, rate) not in success for rate in rates):
            raise ValueError(f"{algorithm} is not tuned on {task} yet: run `python -m turngym.benchmarks.algorithms "
                             "tune` first")  # fmt: skip
    return {rate: fmean(success[task, rate] for task in game) for rate in rates}


def tuned_rate(rows: Sequence[Row], algorithm: str, task: str) -> float:
    """Return the learning rate with which an objective did best in the game of a task, the lowest of several.

    An ablation has that of `astarpo_lambda`, a shaped objective that of the same without.

    Raises:
        ValueError: The objective was not tuned there with all rates.
    """
    if algorithm in ABLATIONS:
        algorithm = SUBJECT
    elif algorithm in SHAPED:
        algorithm = variant_of(algorithm).algorithm
    means = tuning_means(rows, algorithm, next(game for game in GAMES if task in game))
    return max(means, key=lambda rate: means[rate])


def do_all(
    jobs: Sequence[Job], out: Path, workers: int, run: Callable[[Job], Row] = run_job, kind: type[Row] = Row
) -> int:
    """Do the jobs that the result file does not hold, a few at once, each after its base; append each as it ends.

    Args:
        jobs: The jobs.
        out: The result file.
        workers: How many at once.
        run: Does one.
        kind: What its rows are.

    Returns:
        How many failed, or could not be begun since their base did.
    """
    rows = read_rows(out, kind)
    done = {row.key for row in rows}
    known = {(row.task, row.seed) for row in rows if row.algorithm == "base"}
    jobs = [job for job in jobs if job.key not in done]
    works: list[Work] = []
    for place, those in groupby(sorted(jobs, key=_base_of), key=_base_of):
        folder, task, seed, split = place
        if (task, seed) not in known:
            base = Path(folder), task, seed, split
            works.append(Work(name=f"base {task} {seed}", call=make_base, arguments=(base,)))
        works += [Work(name=" ".join(map(str, job.key)), call=run, arguments=(job,), needs=f"base {task} {seed}")
                  for job in those]  # fmt: skip
    failed = 0
    with Workers(works, workers, preload=["turngym.trainers.run"]) as processes:
        for number, ended in enumerate(processes, start=1):
            failed += not _keep(ended, out, kind, f"{number}/{len(works)}")
    return failed


def _base_of(job: Job) -> tuple[str, str, int, str]:
    return str(job.folder), job.task, job.seed, job.split


def _keep(ended: Done, out: Path, kind: type[Row], place: str) -> bool:
    """Append what a process has measured, tell of it, and return whether it ended well."""
    if ended.exit_code != 0:
        print(f"{place} {ended.work.name} failed", file=sys.stderr, flush=True)
        return False
    rows = ended.result if isinstance(ended.result, list) else [ended.result]
    append_rows(out, rows, kind)
    for row in rows:
        print(f"{place} {row.task} {row.algorithm} seed {row.seed} lr {row.learning_rate:g}: "
              f"{row.success:.3f}, {row.tokens} tokens, {row.seconds:.0f} s", flush=True)  # fmt: skip
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    options = tyro.extras.subcommand_cli_from_dict({"tune": Tune, "run": Run}, args=arguments)
    if isinstance(options, Tune):
        jobs = [Job(task=task, algorithm=algorithm, seed=TUNING_SEED, learning_rate=rate, share=TUNING_SHARE,
                    split="validation", folder=options.folder)
                for task in options.tasks for algorithm in options.algorithms
                for rate in TASKS[task].learning_rates]  # fmt: skip
    else:
        tuning = read_rows(options.tuning, Row)
        jobs = [Job(task=task, algorithm=algorithm, seed=seed, share=1.0,
                    learning_rate=tuned_rate(tuning, algorithm, task), split="test", folder=options.folder)
                for seed in options.seeds for task in options.tasks for algorithm in options.algorithms]  # fmt: skip
    return int(do_all(jobs, options.out, options.jobs) > 0)


if __name__ == "__main__":
    sys.exit(main())
