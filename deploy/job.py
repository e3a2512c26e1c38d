"""What is asked of a rented machine: the words of a command line, checked here, before anything is rented.

    python -m deploy.job --preset frozen_lake --max-dollars 25 --gpu L4

prints what `modal run deploy/modal_app.py` with the same words would rent, and needs no account.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from deploy.prices import NO_GPU, Machine
from turngym._errors import InputError
from turngym.cli import train as train_command
from turngym.cli.errors import UsageError
from turngym.trainers.config import TrainConfig, write_toml
from turngym.trainers.launch.configure import configure
from turngym.trainers.launch.limits import with_usual_limits
from turngym.trainers.launch.rates import with_usual_rates

START = 60.0
"""Seconds charged to every attempt for what is outside of its own clock: the start of the container and its end. An
assumption on the safe side of most starts; how they are billed was not measured."""
RESERVE = 180.0
"""Seconds before its end at which an attempt stops: for the step it is in, the checkpoint and the copy of it."""
MOST_HOURS = 24.0
"""Longest attempt that the service allows; the next one goes on where it ended."""
MOST_RETRIES = 10
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of runs, which are folders of the volume."""
ELSEWHERE = ("resume", "dry-run", "list-presets", "run.root", "import")
"""Options of `turngym train` that name a place on this machine or do no training."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run with its budget, in plain values that travel."""

    name: str
    """The run's."""
    config: str
    """The whole configuration, as TOML."""
    max_dollars: float
    """The most that all attempts together may cost."""
    price: float
    """Dollars per second of the machine."""
    attempt_seconds: float = 3600 * MOST_HOURS
    """Longest attempt."""
    start: float = START
    """Seconds charged for what an attempt's own clock does not see."""
    reserve: float = RESERVE
    """Seconds before its end at which an attempt stops."""

    def seconds_left(self, spent: float) -> float:
        """Return how long the machine can still be rented after so many dollars were spent."""
        return max(0.0, self.max_dollars - spent) / self.price

    @property
    def shortest(self) -> float:
        """Seconds that an attempt needs to start and to save; less is not begun."""
        return self.start + 2 * self.reserve


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job, and where and how it is done."""

    job: Job
    machine: Machine
    retries: int
    """How often an attempt that timed out or crashed is followed by another one."""
    out: Path
    """Where the run folder is put at the end."""
    environment: str
    """The name of what is played, for people."""

    def __str__(self) -> str:
        """Return what is rented for what, in a few lines."""
        hours = self.job.seconds_left(0.0) / 3600
        return (f"Run: {self.job.name} ({self.environment})\nMachine: {self.machine}\n"
                f"At most: ${self.job.max_dollars:g}, which is {hours:.2f} hours of it, all attempts together; longest "
                f"attempt {self.job.attempt_seconds / 3600:g} hours, up to {self.retries} retries\n"
                f"Fetched into: {self.out / self.job.name}")  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def plan(words: Sequence[str]) -> Plan:
    """Return what a command line asks for: options of renting, and those of `turngym train` for the rest.

    Raises:
        InputError: Something cannot be used; the message is a sentence.
        SystemExit: After the help that was asked for.
    """
    options, training = _parser().parse_known_args([*words])
    machine = Machine(gpu=options.gpu, cpu=options.cpu, memory=options.memory, price_per_hour=options.price_per_hour)
    if not 0 < options.max_dollars < math.inf:
        raise InputError(f"--max-dollars takes an amount above 0, not {options.max_dollars:g}")
    if not 0 <= options.retries <= MOST_RETRIES:
        raise InputError(f"--retries takes 0 to {MOST_RETRIES}, not {options.retries}")
    if not 0 < options.hours <= MOST_HOURS:
        raise InputError(f"--hours takes a number above 0 and at most {MOST_HOURS:g}, not {options.hours:g}")
    config = configured(training)
    job = Job(
        name=config.run.name, config=write_toml(config), max_dollars=options.max_dollars, price=machine.price,
        attempt_seconds=3600 * options.hours,
    )  # fmt: skip
    for what, seconds in {
        f"--max-dollars {options.max_dollars:g}": job.seconds_left(0.0),
        f"--hours {options.hours:g}": job.attempt_seconds,
    }.items():
        if seconds <= job.shortest:
            raise InputError(f"{what} is {seconds:.0f} seconds of this machine, and an attempt needs more than "
                             f"{job.shortest:.0f} to start and to save")  # fmt: skip
    return Plan(job=job, machine=machine, retries=options.retries, out=options.out, environment=config.env.id)


def configured(words: Sequence[str]) -> TrainConfig:
    """Return the configuration that words of `turngym train` name, if it can be used on another machine.

    Raises:
        InputError: It cannot; the message says why.
    """
    flags = {word.partition("=")[0].removeprefix("--").replace("_", "-") for word in words if word.startswith("--")}
    for flag in ELSEWHERE:
        if flag in flags:
            raise InputError(f"--{flag} is of no use on a rented machine: leave it out")
    try:
        named = train_command.names(words)
        if not named.game and not named.preset:
            raise InputError("name an environment, such as FrozenLake, or --preset NAME")
        config = configure(
            named.game or None,
            preset=named.preset or None,
            algorithm=named.algorithm or None,
            overrides=lambda chosen: train_command.read(words, chosen).config,
        )
        if config.model.path:  # of the hub, where it is looked at on the machine; small ones are rare there
            config = with_usual_rates(config, named.preset or None, named.settings)
            config = with_usual_limits(config, named.preset or None, named.settings)
    except UsageError as error:
        raise InputError(str(error)) from error
    if not NAME.fullmatch(config.run.name):
        raise InputError(f"--run.name is made of letters, digits, '.', '-' and '_' where a run is rented, not "
                         f"{config.run.name!r}")  # fmt: skip
    for setting, value in _of_this_machine(config):
        raise InputError(f"{setting} is {value!r}, which the rented machine does not have")
    return replace(config, run=replace(config.run, root="runs"))


def _of_this_machine(config: TrainConfig) -> Iterator[tuple[str, Any]]:
    """Yield the settings that name files, code or accounts of this machine."""
    if not config.env.id.startswith("turngym/"):
        yield "env.id", config.env.id
    for name, value in config.env.kwargs.items():
        if isinstance(value, str) and Path(value).is_absolute():
            yield f"env.kwargs.{name}", value
    if Path(config.model.path).is_absolute():
        yield "model.path", config.model.path
    for setting, value in {
        "values.explorer_models": config.values.explorer_models,
        "warm_start.demonstrations": config.warm_start.demonstrations,
        "run.imports": config.run.imports,
        "run.trackers": config.run.trackers,
    }.items():
        if value:
            yield setting, value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="modal run deploy/modal_app.py",
        description="Train on a rented machine, up to an amount of money. Other options are those of turngym train.",
        allow_abbrev=False,
    )
    parser.add_argument("--max-dollars", type=float, required=True, help="the most that the run may cost, all attempts")
    parser.add_argument("--gpu", default=NO_GPU, help="a card such as L4 or H100; none by default")
    parser.add_argument("--cpu", type=float, default=2.0, help="physical cores (2)")
    parser.add_argument("--memory", type=int, default=8, help="GiB (8)")
    parser.add_argument("--price-per-hour", type=float, help="dollars for the machine, in place of the list's")
    parser.add_argument("--hours", type=float, default=MOST_HOURS, help="longest attempt (24)")
    parser.add_argument("--retries", type=int, default=MOST_RETRIES, help="attempts after a time-out or a crash (10)")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder that the run folder is put into (runs)")
    return parser


def main(words: Sequence[str]) -> int:
    """Print what would be rented, and return the exit code."""
    try:
        print(plan(words))
    except InputError as error:
        print(f"turngym: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
