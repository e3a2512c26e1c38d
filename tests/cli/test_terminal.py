"""Progress on a terminal and elsewhere, and text that cannot steer the terminal."""

from __future__ import annotations

import io
import sys
from contextlib import suppress

import pytest
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from turngym.agents.episode import Episode
from turngym.cli.terminal import Screen, TerminalProgress, describe, make_console
from turngym.trainers.reporting.progress import Progress, SilentProgress, SuccessSoFar


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain() -> Console:
    """Return a console that writes to memory, as to a file."""
    return Screen(file=io.StringIO(), width=100)


def written(console: Console) -> str:
    """Return what a console in memory has received."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_file_gets_one_line_per_phase_and_never_a_flood(clock: Clock) -> None:
    console = plain()
    with TerminalProgress(console, clock) as progress:
        progress.phase("warm start", None)
        for second in range(100):
            clock.now = float(second)
            progress.advance(loss=1 / (second + 1), success=0.25)
        progress.note("overshot [red] its band")
        progress.phase("learning", 1000)
        for minute in range(1000):
            clock.now = 60.0 * (2 + minute)
            progress.advance()
        progress.phase("values", 10)
        progress.advance(10)
    lines = written(console).splitlines()
    long_phase = [line for line in lines if line.startswith("learning")]
    assert 20 < len(long_phase) < 60 and long_phase[-1].startswith("learning: 1000/1000")
    assert [line for line in lines if line not in long_phase] == [
        "warm start: 31, success 0.250, loss 0.0323",
        "warm start: 61, success 0.250, loss 0.0164",
        "warm start: 91, success 0.250, loss 0.011",
        "overshot [red] its band",
        "warm start: 100, success 0.250, loss 0.01, 99 s",
        "values: 10/10, 0 s",
    ]


def test_an_exception_ends_the_phase_without_calling_it_finished(clock: Clock) -> None:
    console = plain()
    with suppress(KeyboardInterrupt), TerminalProgress(console, clock) as progress:
        progress.phase("learning", 100)
        progress.advance(7, success=0.5)
        raise KeyboardInterrupt
    assert written(console) == "learning (stopped): 7/100, success 0.500, 0 s\n"


def test_a_terminal_gets_a_bar_and_the_same_lines(clock: Clock) -> None:
    console = Screen(file=io.StringIO(), width=100, force_terminal=True)
    with TerminalProgress(console, clock) as progress:
        progress.phase("learning", 4)
        progress.advance(4, success=0.75)
    assert "━" in written(console) and "learning: 4/4, success 0.750, 0 s" in written(console)


def test_both_listeners_keep_the_protocol(clock: Clock) -> None:
    listeners: list[Progress] = [SilentProgress(), TerminalProgress(plain(), clock)]
    for progress in listeners:
        progress.phase("x", None)
        progress.advance(2, success=1.0)
        progress.note("y")


def test_success_so_far_is_a_running_share(clock: Clock) -> None:
    console = plain()
    with TerminalProgress(console, clock) as progress:
        progress.phase("test", 4)
        count = SuccessSoFar(progress)
        for success in (True, False, False, False):
            count(Episode(env_id="e", split="test", index=0, seed=0, success=success))
    assert written(console) == "test: 4/4, success 0.250, 0 s\n"


def test_numbers_are_few_and_success_is_first() -> None:
    numbers = {"loss": 0.123456, "kl": 12345.0, "grad_norm": 1.0, "a": 1.0, "success": 0.5}
    assert describe(numbers) == "success 0.500, loss 0.123, kl 1.23e+04, grad norm 1"
    assert describe({}) == ""


def test_output_that_is_no_terminal_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    make_console().print("[bold]x[/bold] 3", style="red")
    assert stream.getvalue() == "[bold]x[/bold] 3\n"


HOSTILE = "\x1b]0;x\x07[red]\u202egone\x9b2J\r\u2028"
SPELLED = r"\u{1b}]0;x\u{7}[red]\u{202e}gone\u{9b}2J\u{d}\u{2028}"


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_on_the_screen_steers_the_terminal(terminal: bool, clock: Clock) -> None:
    """Texts, tables with their titles, and progress: whatever their source."""
    console = Screen(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)
    table = Table(title=HOSTILE, box=box.SIMPLE_HEAD)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    for one in (HOSTILE, table, Text(HOSTILE)):
        console.print(one)
    with TerminalProgress(console, clock) as progress:
        progress.phase(HOSTILE, 3)
        progress.advance(3, success=1.0)
        progress.note(HOSTILE)
    shown = written(console)
    assert shown.count(SPELLED) >= 6 and not set("\x07\x9b\u202e\u2028") & set(shown) and "\x1b]0" not in shown
    assert ("\x1b" in shown) is terminal  # of the bar alone


def test_a_table_stays_straight() -> None:
    console = Screen(file=io.StringIO(), width=100)
    table = Table(box=box.ASCII)
    for cell in ("a", "\x1b[2J"):
        table.add_row(cell, "end")
    console.print(table)
    lines = written(console).splitlines()
    assert len({len(line) for line in lines}) == 1 and r"| \u{1b}[2J |" in written(console)
