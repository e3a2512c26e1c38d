"""`turngym bench check`: which figures in the tables of pages no longer come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, UseAppendAction, arg

from turngym._durable import replacement
from turngym._errors import InputError
from turngym.benchmarks import games
from turngym.benchmarks.cells import SCRIPTED
from turngym.benchmarks.checking import (
    MarkedTable,
    Measured,
    State,
    Verdict,
    check_table,
    corrected,
    marked_tables,
    of_games,
    of_webshop,
)
from turngym.cli import bench_games
from turngym.cli.agents import names_agent
from turngym.cli.bench_players import label_and_place
from turngym.cli.errors import UsageError
from turngym.cli.options import flags_of, grouped, parse

PAGES = ("README.md", "docs/results.md", "docs/webshop.md")
"""The pages that are read where none is named."""


@dataclass(frozen=True)
class CheckOptions:
    """Say which figures in the tables of pages no longer come out; the exit code is 1 where one does not.

    A table is checked if it stands under a mark, a comment with the command that makes it. What agents without a model
    have, and the optimum, are computed anew, a run's figures where it is named.
    """

    pages: Annotated[Positional[list[Path]], arg(metavar="PAGE")] = field(default_factory=list)
    """The pages; README.md, docs/results.md and docs/webshop.md if none is named."""
    agent: Annotated[list[str], UseAppendAction] = field(default_factory=list)
    """A run folder, which is checked too in tables of bench games, in the environment that it was trained in; it may be
    given several times. Runs that a mark names are checked where they lie in the place that it says."""
    within: float = 0.0
    """How far a number may be off, beyond the rounding of its digits, such as 0.01 for models on another processor."""
    write: bool = False
    """Put what comes out in the place of what does not; the exit code is then 0."""
    out: Path = Path("runs/bench_check")
    """The folder of the cells that were played, which are not played again."""


def run(words: Sequence[str], console: Console) -> int:
    """Check the tables of pages; the exit code is 1 where a figure does not come out."""
    options = parse(CheckOptions, words, command="bench check")
    if not options.within >= 0:
        raise UsageError(f"--within must be at least 0, got {options.within:g}")
    pages = options.pages or [path for path in map(Path, PAGES) if path.is_file()]
    if not pages:
        raise UsageError(f"there is none of {', '.join(PAGES)} here: name the pages")
    tables = {page: list(marked_tables(page)) for page in pages}
    if not any(tables.values()):
        raise UsageError(f"no table is marked in {', '.join(map(str, pages))}; a mark is a comment above it, "
                         "<!-- turngym bench games ... -->")  # fmt: skip
    verdicts = {page: [list(check_table(table, measured(table, options, console), options.within)) for table in found]
                for page, found in tables.items()}  # fmt: skip
    wrong = 0
    for page, by_table in verdicts.items():
        for table, own in zip(tables[page], by_table, strict=True):
            tell(table, own, console)
            wrong += sum(verdict.state is State.DIFFERS and not (options.write and verdict.came) for verdict in own)
        if options.write and any(verdict.state is State.DIFFERS for own in by_table for verdict in own):
            text = corrected(page.read_text(encoding="utf-8"), [verdict for own in by_table for verdict in own])
            with replacement(page) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
            console.print(f"{page} was written.", soft_wrap=True)
    return int(wrong > 0)


def measured(table: MarkedTable, options: CheckOptions, console: Console) -> Measured:
    """Return what the command of a table comes to, as far as it can be run here.

    Raises:
        UsageError: The command cannot be used.
        InputError: It is none of those that make such tables.
    """
    part, *words = table.words
    try:
        if part == "games":
            return _measured_games(words, options, console)
        if part == "webshop":
            return _measured_webshop(words, options, console)
    except (UsageError, InputError) as error:
        raise UsageError(f"{table.path}:{table.line}: {error}") from error
    raise InputError(f"{table.path}:{table.line}: tables of bench games and of bench webshop can be checked, not of "
                     f"bench {part}")  # fmt: skip


def _measured_games(words: Sequence[str], options: CheckOptions, console: Console) -> Measured:
    at_hand = _at_hand(words, bench_games.GamesOptions)
    given = [word for agent in options.agent for word in ("--agent", agent)]
    asked = bench_games.read([*at_hand, *given])
    cells = [cell for cell in bench_games.cells_of(asked) if "--agent" in at_hand or cell.player.trained_in is None
             or cell.player.trained_in[0] == cell.stand.env_id]  # fmt: skip
    results, optima = bench_games.measure(asked, cells, options.out, console)
    return of_games(games.rows_of(results, optima), optima, bench_games.stands_of(cells))


def _measured_webshop(words: Sequence[str], options: CheckOptions, console: Console) -> Measured:
    from turngym.benchmarks import webshop
    from turngym.cli import bench_webshop

    asked = bench_webshop.read(_at_hand(words, bench_webshop.WebShopOptions))
    results = bench_webshop.measure(asked, bench_webshop.cells_of(asked), options.out, console)
    return of_webshop(webshop.rows_of(results))


def _at_hand(words: Sequence[str], kind: type) -> list[str]:
    """Return a command without its folder, and without runs and models that are not here.

    Raises:
        InputError: An agent `module:Class` cannot be loaded.
    """
    kept: list[str] = []
    for given in grouped(words, flags_of(kind)):
        place = label_and_place(given.values[0])[1] if given.flag == "--agent" and given.values else ""
        absent = place and place not in SCRIPTED and not Path(place).is_dir() and not names_agent(place)
        if given.flag != "--out" and not absent:
            kept += given.words
    return kept


def tell(table: MarkedTable, verdicts: Sequence[Verdict], console: Console) -> None:
    """Print how many figures of a table come out, each that does not, and what was not checked."""
    count = Counter(verdict.state for verdict in verdicts)
    console.print(f"{table.path}:{table.line}, {table.command}: of {len(verdicts)} figures {count[State.COMES_OUT]} "
                  f"come out, {count[State.DIFFERS]} do not, {count[State.NOT_CHECKED]} were not checked.",
                  soft_wrap=True)  # fmt: skip
    for verdict in verdicts:
        if verdict.state is State.DIFFERS:
            console.print(f"  {verdict}", soft_wrap=True)
    left = Counter((table.heads[one.column], one.reason) for one in verdicts if one.state is State.NOT_CHECKED)
    for (head, reason), number in left.items():
        console.print(f"  not checked: {head} {reason} ({number})", soft_wrap=True)
