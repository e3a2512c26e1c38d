"""What a second thread gains on a quiet machine, and what it costs on one that has other work.

The threads of OpenMP wait for each other many times in every step. By default they spin while they wait, and where the
machine has other work, a thread may spin for one that does not run. OMP_WAIT_POLICY=PASSIVE lets them sleep instead;
OpenMP reads it when torch is loaded, so every variant is a process of its own. The variants take turns, step by step,
first on the machine as it is and then beside loops that keep processors busy.

    python -m turngym.benchmarks.threads
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import tyro

from turngym.agents.scripted import DemonstrationAgent
from turngym.benchmarks.line_process import LineProcess
from turngym.benchmarks.page import kept, table
from turngym.trainers.base_model import load_or_build
from turngym.trainers.config import AstarpoConfig, EnvConfig, TrainConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run import TrainingRun
from turngym.trainers.warm_start.cloning import scripted_play
from turngym.trainers.warm_start.course import cloning_optimizers, cloning_step

STEPS = ("cloning", "learning")
"""The kinds of step that are timed."""
WORKER = "from turngym.benchmarks.threads import work; work()"
"""What the process of a variant runs."""
CALLED = "the process of a variant"
OPENMP = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Variables that a variant does not take over from whoever starts the benchmark."""


@dataclass(frozen=True)
class Options:
    """Measure steps of training with one thread and with several."""

    threads: int = 2
    """Threads that one thread is compared with."""
    loops: int = 2
    """Busy loops of the machine that has other work."""
    repeats: int = 5
    """Steps of each kind, by each variant, on each machine."""
    cloning_steps: int = 30
    """Steps of cloning before anything is timed, after which replies are those of an agent."""
    size: int = 4
    """Side of the lakes that are played."""
    batch_size: int = 0
    """Episodes of a step; 0 for the defaults of cloning and learning."""
    out: Path | None = Path("benchmarks/results/threads.md")
    """The page to write."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A number of threads and how they wait."""

    name: str
    threads: int
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that are set before torch is loaded."""


Seconds = dict[tuple[str, str, int], list[float]]
"""Elapsed seconds of steps, by kind of step, name of the variant, and busy loops beside it."""


def variants(threads: int) -> list[Variant]:
    """Return what is compared; one thread comes first."""
    return [
        Variant("1", 1),
        Variant(f"{threads}", threads),
        Variant(f"{threads}, OMP_WAIT_POLICY=PASSIVE", threads, {"OMP_WAIT_POLICY": "PASSIVE"}),
    ]


# In the process of a variant ----------------------------------------------------------------------------------------


class Trainee:
    """The built-in model with what it takes to clone and to learn.

    Args:
        config: The run.
        cloning_steps: Steps of cloning that it begins with.
        folder: An empty folder.
    """

    def __init__(self, config: TrainConfig, cloning_steps: int, folder: Path) -> None:
        self._config, self._rollouts = config, Rollouts.of(config)
        self._model = load_or_build(config)
        self._rng = np.random.default_rng(config.run.seed)
        self._cloning = cloning_optimizers(self._model.learned, config.warm_start)
        for _ in range(cloning_steps):
            self.seconds("cloning")
        self._loop = TrainingRun(self._model, config, folder, Metrics(folder / "metrics.jsonl"), SilentProgress()).loop
        # That made the model the reference; cloning goes on with a copy of its own.
        self._model = self._model.copy()
        self._model.learned.requires_grad_(True)
        self._cloning = cloning_optimizers(self._model.learned, config.warm_start)

    def seconds(self, kind: str) -> float:
        """Take a step, its episodes included; return how long it took."""
        started = time.perf_counter()
        if kind == "cloning":
            count = self._config.warm_start.batch_size
            cloning_step(
                self._model,
                self._cloning,
                scripted_play(self._model, self._rollouts, self._rng, count, DemonstrationAgent(0.0)),
            )
        else:
            schedule = self._loop.schedule
            schedule.learning = replace(schedule.learning, steps=schedule.step + 1)
            self._loop.run_round(lambda *_: None, Path(os.devnull))
        return time.perf_counter() - started


def training(options: Options) -> TrainConfig:
    """Return the run whose steps are timed: the defaults without a stage 1, unless options say otherwise."""
    config = TrainConfig(env=EnvConfig(kwargs={"size": options.size}), objective=AstarpoConfig(baseline="batch"))
    if options.batch_size:
        config = replace(
            config,
            warm_start=replace(config.warm_start, batch_size=options.batch_size),
            learning=replace(config.learning, batch_size=options.batch_size),
        )
    return config


def work() -> None:
    """Take the steps that the lines of stdin name, and write the seconds of each to stdout.

    The first line has the threads and the options.
    """
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    threads = settings.pop("threads_here")
    options = Options(**settings)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        trainee = Trainee(training(options), options.cloning_steps, Path(folder))
        torch.set_num_threads(threads)
        for kind in STEPS:  # memory and first-call costs are not what is measured
            trainee.seconds(kind)
        print("ready", flush=True)
        for line in sys.stdin:
            print(trainee.seconds(line.strip()), flush=True)


# In the process that compares ---------------------------------------------------------------------------------------


class Worker(LineProcess):
    """The process of a variant.

    Args:
        variant: What it runs.
        options: The benchmark.
    """

    def __init__(self, variant: Variant, options: Options) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in OPENMP} | variant.environment
        super().__init__([sys.executable, "-c", WORKER], environment)
        self.send(json.dumps({**asdict(options), "out": None, "threads_here": variant.threads}))

    def wait(self) -> None:
        """Wait until the first step can be taken."""
        self.answer(CALLED)

    def seconds(self, kind: str) -> float:
        """Have a step taken; return how long it took."""
        self.send(kind)
        return float(self.answer(CALLED))


@contextmanager
def busy_loops(number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep processors busy for a while; yield the processes that do."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(options: Options) -> Seconds:
    """Time all variants, which take turns."""
    seconds: Seconds = {}
    with ExitStack() as stack:
        workers = {one.name: stack.enter_context(Worker(one, options)) for one in variants(options.threads)}
        for worker in workers.values():
            worker.wait()
        for _, loops in product(range(options.repeats), (0, options.loops)):
            with busy_loops(loops):
                for kind, (name, worker) in product(STEPS, workers.items()):
                    seconds.setdefault((kind, name, loops), []).append(worker.seconds(kind))
    return seconds


def results(seconds: Seconds) -> str:
    """Return the table; the last column is against one thread under the same conditions."""
    rows = []
    for (kind, name, loops), times in sorted(seconds.items(), key=lambda item: (item[0][0], item[0][2], item[0][1])):
        ratio = median(times) / median(seconds[kind, "1", loops])
        rows.append([kind, f"{loops}", name, f"{min(times):.2f}", f"{median(times):.2f}", f"{ratio:.2f}"])
    return table(["step", "busy loops beside it", "threads", "least s", "median s", "median by that of 1 thread"], rows)


def page(seconds: Seconds, options: Options, load: float) -> str:
    """Return the page: what was measured on what, and the table."""
    config = training(options)
    model = config.model
    return (
        "# Threads\n\n"
        "    python -m turngym.benchmarks.threads\n\n"
        f"Elapsed seconds of a cloning step ({config.warm_start.batch_size} episodes) and of a learning step "
        f"({config.learning.batch_size} episodes, played\nand learned from) of {config.env.id}, "
        f"with the built-in model of width {model.hidden_size} and {model.layers} layers;\n"
        f"{options.repeats} steps each, the variants taking turns. {platform.machine()}, {os.cpu_count()} processors, "
        f"torch {torch.__version__}.\nWithout busy loops the machine was as it was, with a load average of {load:.1f} "
        "before the start; the least is nearest to a quiet one.\n\n"
        f"{results(seconds)}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the page and print it."""
    options = tyro.cli(Options, args=arguments)
    load = os.getloadavg()[0]
    print(kept(page(measure(options), options, load), options.out), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
