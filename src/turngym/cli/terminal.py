"""What the user sees: a live progress bar on a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.text import Text

from turngym.cli.printable import printable

PLAIN_WIDTH = 110
LEAST_WAIT = 30.0
"""Seconds between two lines of a phase where there is no bar."""
MOST_NUMBERS = 4


class Screen(Console):
    """A console that prints text as it is: it takes no markup from it, and nothing in it can steer the terminal.

    Args:
        **options: As of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Spell out what might steer the terminal before its place in a table is measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Spell it out in all other texts too, those of progress bars included."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def make_console() -> Screen:
    """Return a console on standard output; where that is no terminal it writes plain text of a fixed width."""
    terminal = sys.stdout.isatty()
    return Screen(file=sys.stdout, width=None if terminal else PLAIN_WIDTH)  # whatever becomes of sys.stdout in play


def describe(numbers: dict[str, float]) -> str:
    """Return the most telling numbers as text, success first: "success 0.410, loss 0.23"."""
    order = sorted(numbers, key=lambda name: name != "success")
    parts = [f"{name} {numbers[name]:{'.3f' if 'success' in name else '.3g'}}" for name in order]
    return ", ".join(parts[:MOST_NUMBERS]).replace("_", " ")


class TerminalProgress:
    """Shows the progress of a computation; implements `turngym.trainers.reporting.progress.Progress`.

    On a terminal one bar moves and each finished phase leaves a line. Elsewhere a phase prints its end, and while it
    lasts a line every half minute, the later the more rarely.

    Args:
        console: Where to print.
        clock: Returns seconds, for tests.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._name = ""
        self._total: int | None = None
        self._done = 0
        self._numbers: dict[str, float] = {}
        self._began = self._spoke = 0.0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        """Return itself; the bar is put away when the block ends, however it ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the last phase; after an exception without calling it finished."""
        self._close(finished=error is None)

    def phase(self, name: str, total: int | None) -> None:
        """Begin a phase of `total` units, None where only its end will tell."""
        self._close(finished=True)
        self._name, self._total, self._done, self._numbers = name, total, 0, {}
        self._began = self._spoke = self._clock()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("{task.fields[numbers]}", markup=False), console=self._console, transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task(self._name, total=total, numbers="")
            self._bar.start()

    def advance(self, n: int = 1, **numbers: float) -> None:
        """Report `n` more units and the numbers that describe the state now."""
        self._done += n
        self._numbers.update(numbers)
        if self._bar is not None:
            self._bar.update(self._task, advance=n, numbers=describe(self._numbers))
        elif self._clock() - self._spoke >= max(LEAST_WAIT, 0.2 * (self._spoke - self._began)):
            self._spoke = self._clock()
            self._print(f"{self._name}: {self._count()}")

    def note(self, text: str) -> None:
        """Print one line that stays."""
        self._print(text)

    def _close(self, *, finished: bool) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._name:
            seconds = self._clock() - self._began
            self._print(f"{self._name}{'' if finished else ' (stopped)'}: {self._count()}, {seconds:.0f} s")
        self._name = ""

    def _count(self) -> str:
        total = "" if self._total is None else f"/{self._total}"
        numbers = describe(self._numbers)
        return f"{self._done}{total}" + (f", {numbers}" if numbers else "")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)
