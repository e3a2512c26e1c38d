"""Every objective on the same tasks, from the same bases, at equal generated tokens, stage 1 included.

    python -m turngym.benchmarks.algorithms tune --folder runs/algorithms
    python -m turngym.benchmarks.algorithms run --folder runs/algorithms
    python -m turngym.benchmarks.algorithms_report

`tune` tries each objective with a few learning rates on validation instances, with a seed of its own; `run` plays the
contest on test instances. Both take hours, append one line per run to a CSV file, and pass over what it holds already,
so they go on where they stopped. Bases are made once per task and seed, in the folder.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import tyro

from turngym.agents.base import Agent
from turngym.agents.evaluation import instance_range, optimal_rate
from turngym.agents.rollout import Instance
from turngym.agents.scripted import RandomAgent
from turngym.benchmarks.algorithm_tasks import (
    ABLATIONS,
    CONTESTANTS,
    GAMES,
    HERO,
    SHAPED,
    TASKS,
    base_config,
    run_config,
)
from turngym.trainers.algorithms import Overrides
from turngym.trainers.config import TrainConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import model_player, play
from turngym.trainers.run import prepare_base, prepare_learner, run_stage_two

RESULTS = Path("benchmarks/results")
CONTEST, TUNING = RESULTS / "algorithms.csv", RESULTS / "algorithms_tuning.csv"
TUNING_SEED = 100
TUNING_SHARE = 0.6
"""Of a task's budget of tokens."""
CURVE_POINTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a result file: a player measured on held-out instances."""

    task: str
    """Name in `TASKS`."""
    algorithm: str
    """Name in `CONTESTANTS`, `ABLATIONS` or `SHAPED`, or "random", "base" or "optimum"."""
    seed: int
    """Of the base and the run."""
    learning_rate: float
    """At the peak; 0 for players that did not learn."""
    episodes: int
    """Held-out instances, each played once, sampled at temperature 1."""
    success: float
    """Share of them that was solved."""
    tokens: int
    """Generated tokens, stage 1 included."""
    stage_one_tokens: int
    """Those of stage 1."""
    steps: int
    """Optimizer steps."""
    seconds: float
    """Processor seconds of both stages."""
    curve: str = ""
    """Success on training episodes over the budget of tokens, means of equal parts, separated by spaces."""

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What a run is known by."""
        return self.task, self.algorithm, self.seed, self.learning_rate


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a result file; none where it does not exist."""
    if not path.exists():
        return []
    casts = {"int": int, "float": float, "str": str}
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(**{part.name: casts[str(part.type)](line[part.name]) for part in fields(Row)})
                for line in csv.DictReader(file)]  # fmt: skip


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a result file, with a header where it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [part.name for part in fields(Row)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(
            {**asdict(row), "success": round(row.success, 6), "seconds": round(row.seconds, 1)} for row in rows
        )


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


def recipe(algorithm: str) -> Overrides:
    """Return the settings of whatever is run."""
    return (CONTESTANTS | ABLATIONS | SHAPED)[algorithm]


def base_folder(folder: Path, task: str, seed: int) -> Path:
    """Return where the base of a seed is kept."""
    return folder / f"{task}-seed{seed}"


def make_base(base: tuple[Path, str, int, str]) -> list[Row]:
    """Make a base unless it is there, and measure it beside random play and the optimum.

    Args:
        base: The folder of all bases, the task, the seed, and the split to measure on.
    """
    folder, task, seed, split = base
    config = base_config(TASKS[task], seed)
    torch.set_num_threads(config.run.threads)
    place = base_folder(folder, task, seed)
    place.mkdir(parents=True, exist_ok=True)
    model = prepare_base(config, place, Metrics(place / "metrics.jsonl"), SilentProgress())
    count = config.evaluation.episodes
    players: list[tuple[str, Agent]] = [("random", RandomAgent()), ("base", model_player(model, config))]
    rates = {name: success(player, config, split) for name, player in players}
    optimum = optimal_rate(config.env.id, instance_range(split, count), config.env.kwargs)
    if optimum is not None:
        rates["optimum"] = optimum
    return [Row(task=task, algorithm=name, seed=seed, learning_rate=0.0, episodes=count, success=rate, tokens=0,
                stage_one_tokens=0, steps=0, seconds=0.0) for name, rate in rates.items()]  # fmt: skip


def run_job(job: Job) -> Row:
    """Learn, and measure on held-out instances."""
    config = run_config(
        TASKS[job.task], recipe(job.algorithm), seed=job.seed, learning_rate=job.learning_rate, share=job.share
    )
    torch.set_num_threads(config.run.threads)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "base").symlink_to((base_folder(job.folder, job.task, job.seed) / "base").resolve())
        metrics = Metrics(folder / "metrics.jsonl")
        began = time.process_time()
        learner = prepare_learner(
            prepare_base(config, folder, metrics, SilentProgress()), config, folder, metrics, SilentProgress()
        )
        run_stage_two(learner, config, folder, metrics, SilentProgress())
        seconds = time.process_time() - began
        steps = [line for line in metrics.lines() if line["phase"] == "astarpo"]
    return Row(
        task=job.task, algorithm=job.algorithm, seed=job.seed, learning_rate=job.learning_rate,
        episodes=config.evaluation.episodes, success=success(model_player(learner.policy, config), config, job.split),
        tokens=learner.generated_tokens, stage_one_tokens=learner.stage_one_tokens, steps=learner.step,
        seconds=seconds, curve=" ".join(f"{point:.3f}" for point in curve(steps, config)),
    )  # fmt: skip


def success(player: Agent, config: TrainConfig, split: str) -> float:
    """Return the share of held-out instances that a player solves."""
    instances: list[Instance] = instance_range(split, config.evaluation.episodes)
    return fmean(episode.success for episode in play(player, instances, config))


def curve(steps: Sequence[dict[str, Any]], config: TrainConfig) -> Iterator[float]:
    """Yield the mean success on training episodes in equal parts of the budget; what has no step has the one before.

    Steps that learn from episodes of stage 1 have no success of their own.
    """
    steps = [line for line in steps if "success" in line]
    ends = np.linspace(0, config.astarpo.max_tokens, CURVE_POINTS + 1)[1:]
    last = steps[0]["success"] if steps else float("nan")
    for low, high in zip([0.0, *ends[:-1]], ends, strict=True):
        part = [line["success"] for line in steps if low < line["generated_tokens"] <= high]
        last = fmean(part) if part else last
        yield last


# The contest ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Try every objective with a few learning rates on validation instances."""

    folder: Path = Path("runs/algorithms")
    """Where bases are kept."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """On which tasks."""
    algorithms: tuple[str, ...] = tuple(CONTESTANTS)
    """Which objectives."""
    jobs: int = 2
    """Runs at once, of one thread each."""
    out: Path = TUNING
    """The result file."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Play the contest, each objective with the learning rate that did best in tuning."""

    folder: Path = Path("runs/algorithms")
    """Where bases are kept."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """On which tasks."""
    algorithms: tuple[str, ...] = tuple(CONTESTANTS)
    """Which of `CONTESTANTS`, `ABLATIONS` and `SHAPED`."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each makes a base of its own, which all share."""
    jobs: int = 2
    """Runs at once, of one thread each."""
    tuning: Path = TUNING
    """The result file of `tune`."""
    out: Path = CONTEST
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
        algorithm = HERO
    elif algorithm in SHAPED:
        algorithm = recipe(algorithm)["astarpo"]["objective"]
    means = tuning_means(rows, algorithm, next(game for game in GAMES if task in game))
    return max(means, key=lambda rate: means[rate])


def do_all(jobs: Sequence[Job], out: Path, workers: int) -> None:
    """Do the jobs that the result file does not hold, a few at once, bases first; append each as it ends."""
    done = {row.key for row in read_rows(out)}
    known = {(row.task, row.seed) for row in read_rows(out) if row.algorithm == "base"}
    jobs = [job for job in jobs if job.key not in done]
    bases = dict.fromkeys((job.folder, job.task, job.seed, job.split) for job in jobs)
    new = [base for base in bases if (base[1], base[2]) not in known]
    with get_context("spawn").Pool(workers, maxtasksperchild=8) as pool:
        for rows in pool.imap_unordered(make_base, new):
            append_rows(out, rows)
        for number, row in enumerate(pool.imap_unordered(run_job, jobs), start=1):
            append_rows(out, [row])
            print(f"{number}/{len(jobs)} {row.task} {row.algorithm} seed {row.seed} lr {row.learning_rate:g}: "
                  f"{row.success:.3f}, {row.tokens} tokens, {row.seconds:.0f} s", flush=True)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    options = tyro.extras.subcommand_cli_from_dict({"tune": Tune, "run": Run}, args=arguments)
    if isinstance(options, Tune):
        jobs = [Job(task=task, algorithm=algorithm, seed=TUNING_SEED, learning_rate=rate, share=TUNING_SHARE,
                    split="validation", folder=options.folder)
                for task in options.tasks for algorithm in options.algorithms
                for rate in TASKS[task].learning_rates]  # fmt: skip
    else:
        tuning = read_rows(options.tuning)
        jobs = [Job(task=task, algorithm=algorithm, seed=seed, share=1.0,
                    learning_rate=tuned_rate(tuning, algorithm, task), split="test", folder=options.folder)
                for seed in options.seeds for task in options.tasks for algorithm in options.algorithms]  # fmt: skip
    do_all(jobs, options.out, options.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
