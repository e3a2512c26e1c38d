"""How fast environments begin and play, and how fast the program starts, beside another checkout and beside others.

Every row is timed in turns: this checkout, the one of `--against`, and who plays the same game elsewhere, each in a
process of its own, again and again. The best time of each counts, in processor seconds, since whatever else the machine
does only costs time; of two programs the ratio is what to read.

    git worktree add ../before COMMIT
    python -m turngym.benchmarks.env_speed --against ../before

TextArena is measured where the interpreter of `--textarena` has it, which may be one of another environment.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import tyro

from turngym._errors import InputError
from turngym.benchmarks.line_process import LineProcess
from turngym.benchmarks.page import kept, table

HERE = Path(__file__).resolve().parents[1]
"""The root of this checkout."""
SPLITS = ("train", "validation", "test")
RESET = ("FrozenLake", "FrozenLakeSlippery", "FrozenLakeWindy", "FrozenLake8x8", "Countdown", "Countdown4",
         "CountdownSteps", "Multiplication", "MultiplicationSteps", "WebShop")  # fmt: skip
"""Environments whose resets are timed."""
TURNS = ("FrozenLake", "Countdown", "CountdownSteps", "Multiplication")
"""Environments whose turns are timed, on one instance and by one reply."""
STARTS = {
    "turngym train --help": ("train", "--help"),
    "turngym train FrozenLake --dry-run": ("train", "FrozenLake", "--dry-run"),
    "turngym doctor": ("doctor",),
}
"""Starts of the program."""
OURS, BEFORE = "this checkout", "before"


@dataclass(frozen=True)
class Options:
    """Measure environments and start-up against another checkout."""

    against: Path
    """The root of the other checkout, such as a worktree of an earlier commit."""
    textarena: str = sys.executable
    """A Python interpreter that has TextArena; without it there is no row of it."""
    resets: int = 300
    """Instances of a split that are begun."""
    turns: int = 3_000
    """Turns of a game."""
    episodes: int = 300
    """Episodes on lakes."""
    repeats: int = 5
    """How often each is timed; the best counts."""
    starts: int = 3
    """How often the program is started; 0 leaves these rows out."""
    out: Path | None = Path("benchmarks/results/env_speed.md")
    """The page to write."""


@dataclass(slots=True)
class Row:
    """One thing that is timed, and the least time of an item by who did it."""

    what: str
    least: dict[str, float] = field(default_factory=dict)
    seconds: bool = False
    """Whether times are seconds, and not microseconds."""

    def note(self, who: str, timed: Sequence[float]) -> None:
        """Note how many items there were and how many seconds they took."""
        count, seconds = timed
        self.least[who] = min(self.least.get(who, float("inf")), seconds / count * (1 if self.seconds else 1e6))

    def shown(self, who: str) -> str:
        """Return a time as a table shows it, nothing where there is none."""
        if who not in self.least:
            return ""
        return f"{self.least[who]:.2f}" if self.seconds else f"{self.least[who]:,.1f}"


class Worker(LineProcess):
    """A process that times what it is asked for.

    Args:
        python: Its interpreter.
        root: The checkout whose package it loads, if any.
    """

    def __init__(self, python: str, root: Path | None = None) -> None:
        program = files("turngym.benchmarks").joinpath("env_speed_worker.py").read_text(encoding="utf-8")
        super().__init__([python, "-c", program], environment(root))

    def ask(self, task: str, **arguments: object) -> Any:
        """Return what a function of `env_speed_worker` returns.

        Raises:
            RuntimeError: The process ended; its own error is on stderr.
        """
        self.send(json.dumps([task, arguments]))
        return json.loads(self.answer(f"the process that was asked for {task}"))


def environment(root: Path | None) -> dict[str, str]:
    """Return the variables of a process that loads the package of a checkout."""
    own = {"OMP_NUM_THREADS": "1"} | ({} if root is None else {"PYTHONPATH": str(root / "src")})
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own


def checkouts(options: Options) -> dict[str, Path]:
    """Return the roots of the two checkouts.

    Raises:
        InputError: The other one is none.
    """
    other = options.against.resolve()
    if not (other / "src" / "turngym" / "__init__.py").is_file():
        raise InputError(f"{options.against} is no checkout of turngym: there is no src/turngym in it; make one with "
                         "git worktree add")  # fmt: skip
    return {OURS: HERE, BEFORE: other}


def measure(options: Options) -> dict[str, list[Row]]:
    """Time everything in turns.

    Returns:
        The rows of each table by its title.

    Raises:
        InputError: The other checkout is none, or its package cannot be loaded from it.
    """
    roots = checkouts(options)
    with ExitStack() as stack:
        ours = {who: stack.enter_context(Worker(sys.executable, root)) for who, root in roots.items()}
        for who, worker in ours.items():
            if not Path(worker.ask("place", module="turngym")).is_relative_to(roots[who]):
                raise InputError(f"the package of {roots[who]} cannot be loaded: another one comes first on the path")
        elsewhere = stack.enter_context(Worker(options.textarena))
        arena = elsewhere if elsewhere.ask("place", module="textarena") else None
        return {
            "Resets, us of an instance that was not begun before": resets(ours, options),
            "Turns, us of one on an instance that is begun again where it ends": turns(ours, options),
            "FrozenLake with random moves, us of a step, resets included": lakes(ours, arena, options),
            "Start-up, s of processor time": starts(roots, options),
        }


def resets(ours: Mapping[str, Worker], options: Options) -> list[Row]:
    """Time the beginnings of instances."""
    rows = {(env, split): Row(f"{env}, {split}") for env in RESET for split in SPLITS}
    for repeat in range(options.repeats):
        for place, ((env, split), row) in enumerate(rows.items()):
            # What several games share, and what was drawn before, may be remembered; these are instances of its own.
            first = (repeat * len(rows) + place) * options.resets
            for who, worker in ours.items():
                row.note(who, worker.ask("turngym_resets", env=env, split=split, first=first, count=options.resets))
    return [*rows.values()]


def turns(ours: Mapping[str, Worker], options: Options) -> list[Row]:
    """Time turns of one reply."""
    rows = {env: Row(env) for env in TURNS}
    for _ in range(options.repeats):
        for env, row in rows.items():
            for who, worker in ours.items():
                row.note(who, worker.ask("turngym_turns", env=env, count=options.turns))
    return [*rows.values()]


def lakes(ours: Mapping[str, Worker], arena: Worker | None, options: Options) -> list[Row]:
    """Time play on lakes, here and by others."""
    new, same = Row("a new lake in each episode"), Row("the same lake again and again")
    held_out = Row("a new lake of the test split in each episode")
    for repeat in range(options.repeats):
        first, count = 10**6 + repeat * options.episodes, options.episodes
        for who, worker in ours.items():
            lake = {"first": first, "count": count}
            new.note(who, worker.ask("turngym_lake", split="train", new=True, **lake))
            held_out.note(who, worker.ask("turngym_lake", split="test", new=True, **lake))
            same.note(who, worker.ask("turngym_lake", split="train", new=False, **lake))
        here = ours[OURS]
        new.note("Gymnasium, text", here.ask("gymnasium_lake", count=count, new=True))
        same.note("Gymnasium, text", here.ask("gymnasium_lake", count=count, new=False))
        if arena is not None:
            new.note("TextArena", arena.ask("textarena_lake", count=count))
    return [new, held_out, same]


def starts(roots: Mapping[str, Path], options: Options) -> list[Row]:
    """Time starts of the program."""
    rows = [Row(command, seconds=True) for command in STARTS]
    for _ in range(options.starts):
        for row in rows:
            for who, root in roots.items():
                row.note(who, (1, started(root, STARTS[row.what])))
    return [row for row in rows if row.least]


def started(root: Path, words: Sequence[str]) -> float:
    """Run a command of a checkout and return its processor seconds.

    Raises:
        RuntimeError: It failed; its own error is on stderr.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "turngym", *words], env=environment(root), stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # A checkout that is not the one installed is what `doctor` finds fault with.
    if process.returncode and (words != STARTS["turngym doctor"] or process.returncode != 1):
        raise RuntimeError(f"turngym {' '.join(words)} of {root} ended with {process.returncode}; its error is above")
    return usage.ru_utime + usage.ru_stime


def results(rows: Sequence[Row]) -> str:
    """Return a table: times by who did it, and their ratios to this checkout."""
    names = list(dict.fromkeys(name for row in rows for name in row.least))
    others = [name for name in names if name != OURS]
    lines = [
        [
            row.what,
            *map(row.shown, names),
            *(f"{row.least[name] / row.least[OURS]:.1f}" if name in row.least else "" for name in others),
        ]
        for row in rows
    ]
    return table(["", *names, *(f"{name} / {OURS}" for name in others)], lines)


def page(tables: Mapping[str, Sequence[Row]], options: Options) -> str:
    """Return the page: what was measured, and the tables."""
    parts = [f"## {title}\n\n{results(rows)}\n" for title, rows in tables.items() if rows]
    return (
        "# Speed of environments and of the start\n\n    python -m turngym.benchmarks.env_speed --against BEFORE\n\n"
        f"Processor time, the best of {options.repeats} ({options.starts} for the start), all in turns; "
        f"{options.resets} instances, {options.turns:,} turns and {options.episodes} episodes each.\n"
        f"{platform.machine()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f}: "
        "read the ratios.\nGymnasium's lake is written by its own `ansi` mode; TextArena's is "
        "`FrozenLake-v0-random`, made anew for each episode as it asks for.\n\n" + "\n".join(parts)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the page and print it."""
    options = tyro.cli(Options, args=arguments)
    print(kept(page(measure(options), options), options.out), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
