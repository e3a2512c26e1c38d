"""`turngym compare`: runs in one table, with differences and their intervals, and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from typing import Annotated

from rich import box
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from turngym.benchmarks.comparing import HOW, IQM, Axis, Metric, Section, compare, sections, sentences, write_files
from turngym.cli.errors import Failure, UsageError
from turngym.cli.options import parse
from turngym.cli.terminal import make_console


@dataclass(frozen=True)
class CompareOptions:
    """Compare runs: means over seeds with intervals, gains over the base, and differences to a reference."""

    runs: Annotated[Positional[list[Path]], arg(metavar="RUN")] = field(default_factory=list)
    """Run folders, or folders that hold run folders, such as that of a sweep."""
    out: Path | None = None
    """A folder for the page (compare.md), figures (compare.csv, runs.csv, compare.json) and pictures (curves.png,
    profiles.png)."""
    metric: Metric = "success"
    """What is compared: success, the return, or the score, which is the return between its least and its largest."""
    reference: str = ""
    """The algorithm that the others are compared with, or the name of a row."""
    over: Axis = "tokens"
    """What the curves are drawn over."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code: 1 where no run is complete."""
    options = parse(CompareOptions, words, command="compare")
    if not options.runs:
        raise UsageError("compare needs RUN, a run folder or that of a sweep; see turngym compare --help")
    comparison = compare(options.runs, options.metric, options.reference)
    console = make_console()
    for section in sections(comparison):
        show(section, console)
    if comparison.rows:
        console.print(HOW.replace("\n", " ").strip(), soft_wrap=True)
    if comparison.aggregates:
        console.print(IQM.replace("\n", " ").strip(), soft_wrap=True)
    notes = sentences(comparison)
    if options.out is not None:
        notes += write_files(comparison, options.out, join(["turngym", "compare", *words]), options.over)
    for note in notes:
        console.print(note, soft_wrap=True)
    if options.out is not None:
        files = ", ".join(sorted(path.name for path in options.out.iterdir()))
        console.print(f"{options.out}: {files}", soft_wrap=True)
    if not comparison.rows:
        raise Failure("no run is complete, so there is nothing to compare yet")
    return 0


def show(section: Section, console: Console) -> None:
    """Print a table."""
    table = Table(title=section.title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False,
                  show_edge=False)  # fmt: skip
    for number, column in enumerate(section.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=number > 0)
    for row in section.rows:
        table.add_row(*row)
    console.print(table)
    if section.about:
        console.print(section.about, soft_wrap=True)
    console.print()
