"""What is seen of a sweep: its plan, a table of what runs and what is done, and a line for each run that ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from turngym.cli.sweep_plan import SweepPlan
from turngym.cli.terminal import describe
from turngym.trainers.run_files import METRICS_FILE, RESULT_FILE
from turngym.trainers.sweeps import PlannedRun, Work, state_of

TAIL = 65536
"""Bytes at the end of the metrics of a run in which its last whole line lies."""
SHOWN = ("success", "validation", "loss")
"""What is shown of a run that goes on."""
STATES = {"new": "to do", "begun": "goes on", "done": "done"}


def _table(*columns: str, title: str = "") -> Table:
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False,
                  show_edge=False)  # fmt: skip
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def plan_table(plan: SweepPlan) -> Table:
    """Return what a sweep runs, in order, and how far each part is."""
    table = _table("run", "begins from", "state")
    for run in plan.ordered:
        table.add_row(run.name, run.base.name if run.base else "", STATES[state_of(run)])
    return table


class SweepView:
    """Tells of a sweep while it goes on: on a terminal in a table, elsewhere in a line for each run that ended.

    Args:
        plan: The sweep.
        console: Where to print.
        works: What is to be done now.
        clock: Returns seconds, for tests.
    """

    def __init__(
        self, plan: SweepPlan, console: Console, works: Mapping[Work, PlannedRun],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._plan, self._console, self._clock = plan, console, clock
        self._ended: set[str] = set()
        self._todo = [run.name for run in works.values()]
        self._shown: float | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Say what is to be done, and begin the table where there is one."""
        count = len(self._plan.bases) + len(self._plan.runs)
        self._console.print(f"{self._plan.folder}: {len(self._todo)} of {count} to do", soft_wrap=True)
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the table away."""
        if self._live is not None:
            self._live.__exit__(kind, error, traceback)

    def refresh(self) -> None:
        """Show how far the runs are, once a second."""
        if self._live is None or (self._shown is not None and self._clock() - self._shown < 1.0):
            return
        self._shown = self._clock()
        self._live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """Return the table of what goes on."""
        left = [run for run in self._plan.ordered if run.name in self._todo and run.name not in self._ended]
        begun = [run for run in left if state_of(run) == "begun"]
        table = _table("run", "how far", title=f"{len(self._ended)} of {len(self._todo)} ended")
        for run in begun:
            table.add_row(run.name, progress(run.folder))
        return table

    def finished(self, run: PlannedRun, seconds: float) -> None:
        """Tell that a run has ended well."""
        self._tell(run, f"{outcome(run)}, {seconds:.0f} s")

    def failed(self, run: PlannedRun, why: str) -> None:
        """Tell that a run has failed."""
        self._tell(run, f"failed: {why}")

    def _tell(self, run: PlannedRun, what: str) -> None:
        self._ended.add(run.name)
        self._console.print(f"[{len(self._ended)}/{len(self._todo)}] {run.name}: {what}", soft_wrap=True)


def outcome(run: PlannedRun) -> str:
    """Return what a run came to: of a base its last check, of another its success before and after."""
    if run.base is None:
        checked = last_line(run.folder).get("success")
        return "base" if checked is None else f"base, success {checked:.3f} in validation"
    try:
        result = json.loads((run.folder / RESULT_FILE).read_text(encoding="utf-8"))
        before, after, greedy = (result[name]["rate"] for name in ("base_sampled", "trained_sampled", "trained_greedy"))
    except (OSError, ValueError, KeyError, TypeError):
        return "done"
    return f"success {before:.3f} to {after:.3f} sampled, {greedy:.3f} greedy"


def progress(folder: Path) -> str:
    """Return where a run is, by its last line of metrics."""
    line = last_line(folder)
    numbers = {name: line[name] for name in SHOWN if isinstance(line.get(name), int | float)}
    step = f" step {line['step']}" if isinstance(line.get("step"), int) else ""
    where = str(line.get("phase", "begins")).replace("_", " ")
    return f"{where}{step}" + (f", {describe(numbers)}" if numbers else "")


def last_line(folder: Path) -> dict[str, Any]:
    """Return the last whole line of a run's metrics; nothing where there is none."""
    try:
        with (folder / METRICS_FILE).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            texts = file.read().splitlines()
    except OSError:
        return {}
    for text in reversed(texts):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            return line
    return {}
