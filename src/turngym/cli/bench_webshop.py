"""`turngym bench webshop`: agents in the shop, by catalogue and protocol, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from typing import Literal

from rich.console import Console
from rich.table import Table

from turngym.benchmarks import webshop
from turngym.benchmarks.cells import Cell, left_over, plan, sentences
from turngym.benchmarks.webshop import Result, ShopRow, ShopStand
from turngym.cli.bench_table import TableOptions, count_text, play, runs_text, table_of
from turngym.cli.errors import UsageError
from turngym.cli.options import JsonObject, parse
from turngym.envs.finding import check_env
from turngym.strict_json import dumps

ProtocolName = Literal["fixed", "faithful", "gigpo", "original"]


@dataclass(frozen=True, kw_only=True)
class WebShopOptions(TableOptions):
    """Measure agents in the shop, by catalogue and protocol; the same command goes on after an interruption."""

    scripted: list[str] = field(default_factory=lambda: ["random", "rule", "shopper", "oracle"])
    """Scripted agents that play as well: random, rule, shopper, shopper-details, oracle or a registered one."""
    protocols: list[ProtocolName] = field(default_factory=lambda: ["fixed", "faithful", "gigpo", "original"])
    """By which protocols."""
    num_products: list[int] = field(default_factory=list)
    """Sizes of generated catalogues; 1000 if neither this nor a catalogue is named."""
    catalogue: list[Path] = field(default_factory=list)
    """Catalogue files, or folders with the files of the original."""
    index: list[Path] = field(default_factory=list)
    """Saved indexes over these catalogues, in the same order."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Further arguments of the environment at every protocol, as a JSON object such as '{"max_episode_steps": 30}'."""
    episodes: int | None = None
    """How many goals, each played once by every run; all of the split unless given."""
    out: Path = Path("runs/bench_webshop")
    """The folder of cells, page (webshop.md), figures (webshop.csv, webshop.json) and picture (webshop.png)."""


COLUMNS = ("agent", "success", "95% interval", "runs", "score", "type", "attr", "opt", "price", "turns", "tokens",
           "invalid", "seconds", "n")  # fmt: skip
"""Of the table on the terminal: those of the page that fit into its width."""


def run(words: Sequence[str], console: Console) -> int:
    """Play what was not played yet, and write the table; the exit code is 1 where an episode ended in an error."""
    options = read(words)
    cells = cells_of(options)
    results = measure(options, cells, options.out, console)
    notes = webshop.write_report(options.out, results, join(["turngym", "bench", "webshop", *words]))
    tell(results, [*left_over(options.out, (cell.digest for cell in cells)), *notes], console)
    files = ", ".join(sorted(path.name for path in options.out.glob("webshop.*")))
    console.print(f"{options.out}: {files}", soft_wrap=True)
    options.tell_spent(console)
    return int(any(row.errors for row in webshop.rows_of(results)))


def read(words: Sequence[str]) -> WebShopOptions:
    """Return the options of a command line.

    Raises:
        UsageError: They cannot be used.
    """
    options = parse(WebShopOptions, words, command="bench webshop")
    options.check(["protocols"], episodes=options.episodes)
    if options.index and len(options.index) != len(options.catalogue):
        raise UsageError(f"--index needs one for each --catalogue, {len(options.catalogue)} in the same order, got "
                         f"{len(options.index)}")  # fmt: skip
    return options


def cells_of(options: WebShopOptions) -> list[Cell[ShopStand]]:
    """Return what shall be played, every shop of it opened once.

    Raises:
        UsageError: An agent means nothing, or nobody plays.
        InputError: A shop cannot be opened as it is asked for.
    """
    stands = webshop.stands(options.catalogue, options.index, options.num_products, options.protocols,
                            options.env_kwargs)  # fmt: skip
    players = options.players()
    for stand in stands:
        presented = [stand.presented(player.presentation) for player in players]
        for presentation in {dumps(one): one for one in presented}.values():
            check_env(stand.env_id, {**stand.arguments, **presentation})
    return list(plan(stands, players, seeds=options.seeds, split=options.split, slots=options.slots,
                     episodes=lambda stand: options.episodes or stand.num_goals(options.split),
                     lenient=options.lenient))  # fmt: skip


def measure(options: WebShopOptions, cells: Sequence[Cell[ShopStand]], out: Path, console: Console) -> list[Result]:
    """Return the results of cells, of which those are played that the folder does not hold."""
    return play(options, cells, out, console, lambda *_: None)[0]


# What is shown ------------------------------------------------------------------------------------------------------


def tell(results: Sequence[Result], notes: Sequence[str], console: Console) -> None:
    """Print a table for each stand, and what is to be said of them."""
    for rows in webshop.by_stand(webshop.rows_of(results)).values():
        console.print(stand_table(rows))
        console.print(webshop.ceiling_note(rows), soft_wrap=True)
        console.print()
    for note in (*webshop.repeated(results), *sentences(results), *notes):
        console.print(note, soft_wrap=True)


def stand_table(rows: Sequence[ShopRow]) -> Table:
    """Return the rows of a stand as a table."""
    lines = []
    for row in rows:
        parts = [_short(value) for value in (row.r_type, row.r_att, row.r_option, row.r_price)]
        lines.append([row.agent, f"{row.success:.3f}", f"[{row.low:.3f}, {row.high:.3f}]",
                      runs_text(row.runs, row.over_runs), f"{row.score:.3f}", *parts, f"{row.turns:.1f}",
                      f"{row.tokens:.1f}", _short(row.invalid), f"{row.seconds:.1f}",
                      count_text(row.episodes, row.errors)])  # fmt: skip
    return table_of(f"{rows[0].catalogue}, {rows[0].protocol}", COLUMNS, lines, ["agent"])


def _short(value: float | None) -> str:
    """Return a share in two digits; nothing where there is none."""
    return "" if value is None else f"{value:.2f}"
