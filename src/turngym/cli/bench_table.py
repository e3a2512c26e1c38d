"""What the parts of `turngym bench` that play a table have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table
from tyro.conf import UseAppendAction

from turngym._errors import WorkError
from turngym.benchmarks.cells import Cell, CellResult, Player, Stand, play_cells
from turngym.cli.api import ApiOptions
from turngym.cli.bench_players import find_players, label_and_place
from turngym.cli.errors import UsageError
from turngym.cli.evaluate import check_amounts
from turngym.cli.hosting import HostingOptions
from turngym.cli.terminal import TerminalProgress
from turngym.trainers.reporting.progress import Progress

StandT = TypeVar("StandT", bound=Stand)
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class TableOptions(ApiOptions, HostingOptions):
    """Who plays, and how often; the same command goes on after an interruption."""

    step_timeout: float | None = None
    """Seconds that an environment may take to be made and reset, or to step, before its episode is given up; "inf" for
    ever, 60 unless given."""
    isolate: int | None = None
    """Number of worker processes to put environments into, where one that ends its process costs its own episode too;
    none unless given."""
    agent: Annotated[list[str], UseAppendAction] = field(default_factory=list)
    """A run folder, which stands for its base and its last policy, a checkpoint folder, a model of the hub or behind a
    server as openai:MODEL, or a registered agent; it may be given several times. Runs that differ in their seeds alone
    share a row, and so do all of one --agent NAME=..."""
    scripted: list[str] = field(default_factory=list)
    """Scripted agents that play as well."""
    decoding: list[Literal["sampled", "greedy"]] = field(default_factory=lambda: ["sampled", "greedy"])
    """How models choose their tokens; sampled is at their own temperature, and behind a server at what is set there."""
    max_reply_tokens: int | None = None
    """Longest reply of a model behind a server, thoughts included; 1024 unless given."""
    split: Literal["train", "validation", "test"] = "test"
    """Which instances."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Seeds of the agents' chance; those that do not draw play with the first alone."""
    slots: int = 128
    """Episodes played at once."""

    def check(self, lists: Sequence[str], **amounts: int | None) -> None:
        """Check amounts, and that lists are not empty.

        Args:
            lists: Further options that need a value.
            **amounts: Further amounts; None is one that was not given.

        Raises:
            UsageError: An amount is out of range, or a list empty.
        """
        given = {name: amount for name, amount in amounts.items() if amount is not None}
        check_amounts(slots=self.slots, **given)
        for seed in self.seeds:
            check_amounts(seed=seed)
        for name in (*lists, "decoding", "seeds"):
            if not getattr(self, name):
                raise UsageError(f"--{name} needs a value")

    def players(self) -> list[Player]:
        """Return who plays.

        Raises:
            UsageError: An agent means nothing, an option has no reader, or nobody plays.
        """
        self.check_use(label_and_place(text)[1] for text in self.agent)
        players = find_players(self.scripted, self.agent, self.decoding, self.slots, api=self,
                               max_reply_tokens=self.max_reply_tokens)  # fmt: skip
        if not players:
            raise UsageError("nobody plays: name scripted agents with --scripted, or others with --agent")
        return players


def play(
    options: TableOptions,
    cells: Sequence[Cell[StandT]],
    out: Path,
    console: Console,
    then: Callable[[Sequence[CellResult[StandT, Any]], Progress], Made],
) -> tuple[list[CellResult[StandT, Any]], Made]:
    """Play what was not played yet; where play stops before its end, say that the same command goes on.

    Args:
        options: Those of the command.
        cells: What to play.
        out: The folder where cells are kept.
        console: Where to say it.
        then: Called with the results and the progress, and what it returns is returned too.
    """
    timeout, isolate = options.hosting()
    out.mkdir(parents=True, exist_ok=True)
    with TerminalProgress(console) as progress:
        try:
            results = play_cells(cells, out, progress, step_timeout=timeout, isolate=isolate)
            return results, then(results, progress)
        except (KeyboardInterrupt, WorkError):
            console.print(f"{out} holds the episodes that were played; the same command goes on.", soft_wrap=True)
            options.tell_spent(console)
            raise


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]) -> Table:
    """Return a table for the terminal.

    Args:
        title: What stands above it.
        columns: The heads.
        rows: The cells, as text.
        left: The columns of names, which may be broken into lines.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False,
                  show_edge=False)  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=column not in left)
    for row in rows:
        table.add_row(*row)
    return table


def runs_text(runs: int, over_runs: float | None) -> str:
    """Return the number of runs, and half the interval over them."""
    return f"{runs}" if over_runs is None else f"{runs} ±{over_runs:.3f}".replace("±0.", "±.")


def count_text(episodes: int, errors: int) -> str:
    """Return how many episodes there are, and how many ended in an error."""
    return f"{episodes}" + (f" (+{errors} errors)" if errors else "")
