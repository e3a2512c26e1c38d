"""Time to success with explorers in this process and in others beside it: stage 1 and learning, by clock and by core.

A seed has one base. From a copy of it every variant runs stage 1 and learns, in a process of its own, until a
validation reaches the success that is asked for. The variants take turns, and play the same episodes: they differ in
where explorers play, and so in how long stage 1 takes. Processor time is that of all processes of a run.

    python -m turngym.benchmarks.exploration
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from turngym.benchmarks.algorithm_tasks import TASKS, Variant, run_config
from turngym.benchmarks.page import kept, table
from turngym.trainers.config import TrainConfig, with_overrides
from turngym.trainers.config.toml import parse_toml, write_toml
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import make_base, train
from turngym.trainers.run_files import BASE

WORKER = "from turngym.benchmarks.exploration import work; work()"
"""What the process of a run executes."""
COLUMNS = ("explorer processes", "runs", "stage 1, s", "stage 1, processor s", "reached", "to success, s",
           "to success, processor s")  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Measure the time to success with explorers in this process and in others."""

    task: str = "FrozenLakeWindy"
    """A task of `turngym.benchmarks.algorithm_tasks`."""
    processes: tuple[int, ...] = (0, 1)
    """Processes of explorers that are compared, beside the one that plays the reference and learns: on two cores, 0
    leaves one of them idle and 1 does not."""
    success: float = 0.7
    """Share of validation episodes solved, at which a run ends."""
    seeds: int = 3
    """Bases."""
    temperatures: tuple[float, ...] = (1.5,)
    """Temperatures of explorers."""
    agents: tuple[str, ...] = ("oracle",)
    """Scripted explorers."""
    samples: int = 8
    """Episodes of every instance by each explorer."""
    instances: int = 96
    """Instances of the pool."""
    steps: int = 200
    """Steps after which a run has failed."""
    out: Path | None = Path("benchmarks/results/exploration.md")
    """The page to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """How long a run took, seconds, from when its process had read its base."""

    stage_one: float
    """Until stage 1 was over."""
    stage_one_processor: float
    """The same, of all processors."""
    success: float | None
    """Until the success was reached; None where it never was."""
    success_processor: float | None
    """The same, of all processors."""


def configured(options: Options, seed: int, processes: int) -> TrainConfig:
    """Return the configuration of a run."""
    values = {"instances": options.instances, "explorer_temperatures": list(options.temperatures),
              "explorer_agents": list(options.agents), "explorer_samples": options.samples,
              "explorer_processes": processes}  # fmt: skip
    variant = Variant(algorithm="astarpo_lambda", overrides={"values": values})
    task = TASKS[options.task]
    config = run_config(task, variant, seed=seed, learning_rate=task.learning_rates[1])
    return with_overrides(config, {
        "learning": {"steps": options.steps, "max_tokens": None},
        "evaluation": {"validate_every": 2, "validation_episodes": 256, "episodes": 1},
    })  # fmt: skip


# In the process of a run --------------------------------------------------------------------------------------------


class Reached(Exception):
    """The success was reached."""


class Stopwatch:
    """A tracker of metrics that takes the times, and ends the run when it has succeeded.

    Args:
        success: The validation success that ends it.
    """

    def __init__(self, success: float) -> None:
        self._success, self._start = success, (time.perf_counter(), processor_seconds())
        self.stage_one = self.end = (0.0, 0.0)

    def scalars(self, phase: str, step: int, numbers: Mapping[str, Any]) -> None:
        """Take the time of a line."""
        now = time.perf_counter() - self._start[0], processor_seconds() - self._start[1]
        if phase == "values":
            self.stage_one = now
        if numbers.get("validation", -1.0) >= self._success and phase == "learning":
            self.end = now
            raise Reached

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Take no table."""

    def picture(self, name: str, path: Path) -> None:
        """Take no picture."""

    def close(self) -> None:
        """Do nothing."""


def processor_seconds() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def work() -> None:
    """Run what the first line of the standard input names, and print its times as JSON."""
    folder, success = json.loads(input())
    config = parse_toml((Path(folder) / "config.toml").read_text(encoding="utf-8"), source="the benchmark")
    watch = Stopwatch(success)
    with suppress(Reached):
        train(config, Path(folder), SilentProgress(), trackers=[watch])
    end = watch.end if watch.end[0] else (None, None)
    timed = Timed(stage_one=watch.stage_one[0], stage_one_processor=watch.stage_one[1],
                  success=end[0], success_processor=end[1])  # fmt: skip
    print(json.dumps(asdict(timed)), flush=True)


# Here ---------------------------------------------------------------------------------------------------------------


def timed_run(options: Options, base: Path, folder: Path, seed: int, processes: int) -> Timed:
    """Return the times of a run from a base.

    Raises:
        RuntimeError: It failed; its own error is on stderr.
    """
    shutil.copytree(base, folder / BASE)
    (folder / "config.toml").write_text(write_toml(configured(options, seed, processes)), encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "-c", WORKER], input=json.dumps([str(folder), options.success]) + "\n",
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if answer.returncode:
        raise RuntimeError("a run of the benchmark failed; its error is above")
    return Timed(**json.loads(answer.stdout.splitlines()[-1]))


def measure(options: Options) -> dict[int, list[Timed]]:
    """Return the times of every run, by the number of processes of explorers."""
    found: dict[int, list[Timed]] = {processes: [] for processes in options.processes}
    for seed in range(options.seeds):
        with TemporaryDirectory() as place:
            whole = Path(place) / "base"
            whole.mkdir()
            make_base(configured(options, seed, 0), whole, SilentProgress())
            order = options.processes if seed % 2 == 0 else options.processes[::-1]
            for processes in order:
                folder = Path(place) / f"run-{processes}"
                folder.mkdir()
                found[processes].append(timed_run(options, whole / BASE, folder, seed, processes))
                print(f"seed {seed}, {processes} processes: {found[processes][-1]}", file=sys.stderr)
    return found


def results(found: Mapping[int, Sequence[Timed]]) -> str:
    """Return the times as a table: medians over the runs, of success over those that reached it."""
    rows = []
    for processes, runs in found.items():
        reached = [run for run in runs if run.success is not None]
        ends = [[run.success or 0.0 for run in reached], [run.success_processor or 0.0 for run in reached]]
        rows.append([
            str(processes), str(len(runs)), f"{median(run.stage_one for run in runs):.1f}",
            f"{median(run.stage_one_processor for run in runs):.1f}", f"{len(reached)} of {len(runs)}",
            *(f"{median(column):.1f}" if column else "-" for column in ends),
        ])  # fmt: skip
    return table(COLUMNS, rows)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the page and write it."""
    options = tyro.cli(Options, args=words, prog="python -m turngym.benchmarks.exploration", description=__doc__)
    found = measure(options)
    page = (
        "# Explorers in processes\n\n"
        f"Stage 1 and learning of {options.task} until {options.success:.0%} of 256 validation episodes are solved; "
        f"medians over {options.seeds} seeds, on {os.cpu_count()} cores ({platform.machine()}).\n\n"
        f"{results(found)}\n"
    )
    print(kept(page, options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
