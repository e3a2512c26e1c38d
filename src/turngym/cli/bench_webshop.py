"""`turngym bench webshop`: agents in the shop, by catalogue and protocol, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from typing import Annotated, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from tyro.conf import UseAppendAction

from turngym.agents.api import BudgetReachedError
from turngym.agents.serving import ServerError
from turngym.benchmarks import webshop
from turngym.benchmarks.webshop import Cell, CellResult, Row
from turngym.cli.api import ApiOptions
from turngym.cli.bench_players import find_players, place_of
from turngym.cli.errors import UsageError
from turngym.cli.evaluate import check_amounts
from turngym.cli.options import JsonObject, parse
from turngym.cli.terminal import TerminalProgress
from turngym.envs.finding import check_env
from turngym.strict_json import dumps

ProtocolName = Literal["fixed", "faithful", "gigpo", "original"]


@dataclass(frozen=True)
class WebShopOptions(ApiOptions):
    """Measure agents in the shop, by catalogue and protocol; the same command goes on after an interruption."""

    agent: Annotated[list[str], UseAppendAction] = field(default_factory=list)
    """A run folder, which stands for its base and its last policy, a checkpoint folder, a model behind a server as
    openai:MODEL, or a registered agent; it may be given several times. Runs that differ in their seeds alone share a
    row, and so do all of one --agent NAME=..."""
    scripted: list[str] = field(default_factory=lambda: ["random", "rule", "shopper", "oracle"])
    """Scripted agents that play as well: random, rule, shopper, shopper-details, oracle or a registered one."""
    decoding: list[Literal["sampled", "greedy"]] = field(default_factory=lambda: ["sampled", "greedy"])
    """How models choose their tokens; sampled is at their own temperature, and behind a server at what is set there."""
    max_reply_tokens: int | None = None
    """Longest reply of a model behind a server, thoughts included; 1024 unless given."""
    lenient: bool = False
    """Read a reply that the shop refuses once more, leniently: **search[shoes]**, Action: search[shoes]. and the
    like."""
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
    split: Literal["train", "validation", "test"] = "test"
    """Which goals."""
    episodes: int | None = None
    """How many goals, each played once by every run; all of the split unless given."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Seeds of the agents' chance; those that do not draw play with the first alone."""
    slots: int = 128
    """Episodes played at once."""
    out: Path = Path("runs/bench_webshop")
    """The folder of cells, page (webshop.md), figures (webshop.csv, webshop.json) and picture (webshop.png)."""


COLUMNS = ("agent", "success", "95% interval", "runs", "score", "type", "attr", "opt", "price", "turns", "tokens",
           "invalid", "seconds", "n")  # fmt: skip
"""Of the table on the terminal: those of the page that fit into its width."""


def run(words: Sequence[str], console: Console) -> int:
    """Play what was not played yet, and write the table; the exit code is 1 where an episode ended in an error."""
    options = parse(WebShopOptions, words, command="bench webshop")
    check(options)
    cells = cells_of(options)
    options.out.mkdir(parents=True, exist_ok=True)
    with TerminalProgress(console) as progress:
        try:
            results = webshop.play_cells(cells, options.out, progress)
        except (KeyboardInterrupt, BudgetReachedError, ServerError):
            console.print(f"{options.out} holds the cells that were played; the same command goes on.", soft_wrap=True)
            options.tell_spent(console)
            raise
    notes = webshop.write_report(options.out, results, join(["turngym", "bench", "webshop", *words]))
    tell(results, [*webshop.left_over(options.out, cells), *notes], console)
    files = ", ".join(sorted(path.name for path in options.out.glob("webshop.*")))
    console.print(f"{options.out}: {files}", soft_wrap=True)
    options.tell_spent(console)
    return int(bool(webshop.error_notes(results)))


def check(options: WebShopOptions) -> None:
    """Check amounts, and that lists hold what goes together.

    Raises:
        UsageError: They do not.
    """
    check_amounts(slots=options.slots, **({} if options.episodes is None else {"episodes": options.episodes}))
    for seed in options.seeds:
        check_amounts(seed=seed)
    for name in ("protocols", "decoding", "seeds"):
        if not getattr(options, name):
            raise UsageError(f"--{name} needs a value")
    if options.index and len(options.index) != len(options.catalogue):
        raise UsageError(f"--index needs one for each --catalogue, {len(options.catalogue)} in the same order, got "
                         f"{len(options.index)}")  # fmt: skip


def cells_of(options: WebShopOptions) -> list[Cell]:
    """Return what shall be played, every shop of it opened once.

    Raises:
        UsageError: An agent means nothing, or nobody plays.
        InputError: A shop cannot be opened as it is asked for.
    """
    stands = webshop.stands(options.catalogue, options.index, options.num_products, options.protocols,
                            options.env_kwargs)  # fmt: skip
    options.check_use(map(place_of, options.agent))
    players = find_players(options.scripted, options.agent, options.decoding, options.slots, api=options,
                           max_reply_tokens=options.max_reply_tokens)  # fmt: skip
    if not players:
        raise UsageError("nobody plays: name scripted agents with --scripted, or others with --agent")
    for stand in stands:
        for presentation in {dumps(player.presentation): player.presentation for player in players}.values():
            check_env(stand.env_id, {**stand.arguments, **presentation})
    return list(webshop.plan(stands, players, seeds=options.seeds, split=options.split,
                             episodes=options.episodes or 0, slots=options.slots,
                             lenient=options.lenient))  # fmt: skip


# What is shown ------------------------------------------------------------------------------------------------------


def tell(results: Sequence[CellResult], notes: Sequence[str], console: Console) -> None:
    """Print a table for each stand, and what is to be said of them."""
    for rows in webshop.by_stand(webshop.rows_of(results)).values():
        console.print(stand_table(rows))
        console.print(webshop.ceiling_note(rows), soft_wrap=True)
        console.print()
    for note in (*webshop.repeated(results), *webshop.error_notes(results), *webshop.lenient_notes(results), *notes):
        console.print(note, soft_wrap=True)


def stand_table(rows: Sequence[Row]) -> Table:
    """Return the rows of a stand as a table."""
    table = Table(title=f"{rows[0].catalogue}, {rows[0].protocol}", title_justify="left", box=box.SIMPLE_HEAD,
                  padding=0, pad_edge=False, show_edge=False)  # fmt: skip
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "agent" else "right", no_wrap=column != "agent")
    for row in rows:
        parts = [_short(value) for value in (row.r_type, row.r_att, row.r_option, row.r_price)]
        over = f"{row.runs}" if row.over_runs is None else f"{row.runs} ±{row.over_runs:.3f}".replace("±0.", "±.")
        table.add_row(row.agent, f"{row.success:.3f}", f"[{row.low:.3f}, {row.high:.3f}]", over, f"{row.score:.3f}",
                      *parts, f"{row.turns:.1f}", f"{row.tokens:.1f}", _short(row.invalid), f"{row.seconds:.1f}",
                      f"{row.episodes}" + (f" (+{row.errors} errors)" if row.errors else ""))  # fmt: skip
    return table


def _short(value: float | None) -> str:
    """Return a share in two digits; nothing where there is none."""
    return "" if value is None else f"{value:.2f}"
