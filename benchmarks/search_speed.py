"""The shop's search beside that of another checkout, Lucene and tantivy, and the shop's steps, in alternation.

Every engine is opened in a process of its own, and all of them answer the same queries, the instructions of goals, in
turns of a few. Counted are processor seconds of all threads of the process, so that other programs matter little, and
rates are compared within a run alone. What this checkout and the other one find, scores included, and the pages that
their scripted shoppers see must be the same to the byte; Lucene must find the same products in the same order.

    git worktree add ../before HEAD~1
    python -m turngym.benchmarks.search_speed FOLDER --against ../before --engines bm25 lucene tantivy

tantivy is the Python package of that name (`pip install tantivy`); it searches with its own stemmer and ranking.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from turngym._errors import InputError
from turngym.benchmarks import search_speed_worker
from turngym.benchmarks.line_process import LineProcess
from turngym.benchmarks.page import kept, table
from turngym.benchmarks.search_speed_worker import Engine
from turngym.webshop_server.catalogue import generate_records, write_catalogue
from turngym.webshop_server.shop import MAX_RESULTS

BEFORE = "before"
WORKER = "import runpy, sys; runpy.run_path(sys.argv[1])['work'](sys.argv[2:])"
"""What the process of an engine runs: `search_speed_worker.py` of here, with the package of whichever checkout."""
IN_MEMORY = 10_000
"""Up to so many products the catalogue and the index are in memory."""


@dataclass(frozen=True)
class Options:
    """Measure the shop's search and steps."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Where catalogues and indexes are written; what is there is used again."""
    against: Path | None = None
    """A checkout to compare with, such as a worktree of an earlier commit."""
    num_products: tuple[int, ...] = (1_000, 100_000)
    """Sizes of the catalogue."""
    engines: tuple[Engine, ...] = ("bm25",)
    """The search engines; `bm25` is the built-in one."""
    searches: int = 1_000
    """How many searches, and how many episodes of the script at most."""
    episodes: int = 300
    """How many episodes of the script."""
    turn: int = 50
    """How many searches or episodes an engine has in one turn."""
    out: Path | None = None
    """A file for the page."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """An engine of a checkout."""

    name: str
    engine: Engine
    checkout: Path | None = None
    """Whose; this one's if None."""


class Worker(LineProcess):
    """The process of a contestant.

    Args:
        contestant: Who.
        given: The arguments of `Desk`, or of `built`, but for the engine.
    """

    def __init__(self, contestant: Contestant, **given: object) -> None:
        elsewhere = {"PYTHONPATH": str(contestant.checkout / "src")} if contestant.checkout else {}
        command = [sys.executable, "-P", "-c", WORKER, str(Path(search_speed_worker.__file__).resolve())]
        super().__init__([*command, json.dumps({"engine": contestant.engine, **given})], os.environ | elsewhere)

    def ask(self, name: str, *values: object) -> Any:
        """Return what a method of the desk returns.

        Raises:
            RuntimeError: The process ended; its own error is on stderr.
        """
        self.send(json.dumps([name, values]))
        return json.loads(self.answer("the process of an engine"))


@dataclass
class Race:
    """What contestants took for the same, in processor seconds of every turn."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, seconds: float, units: int) -> None:
        """Count a turn."""
        self.seconds.setdefault(name, []).append(seconds)
        self.units[name] = self.units.get(name, 0) + units

    def rate(self, name: str) -> float:
        """Return units per processor second."""
        return self.units[name] / sum(self.seconds[name])

    def cells(self, name: str, base: str) -> list[str]:
        """Return the rate, its ratio to that of another, and the least and greatest ratio of a turn."""
        if name not in self.seconds:
            return ["", ""]
        turns = [theirs / ours for ours, theirs in zip(self.seconds[name], self.seconds[base], strict=True)]
        ratio = f"{self.rate(name) / self.rate(base):.2f} ({min(turns):.2f}-{max(turns):.2f})"
        return [f"{self.rate(name):,.0f}", ratio]


def contestants(options: Options) -> list[Contestant]:
    """Return who takes part; ratios are to the first one."""
    before = [] if options.against is None else [Contestant(BEFORE, "bm25", options.against.resolve())]
    return before + [Contestant(engine, engine) for engine in options.engines]


def measure(options: Options, num_products: int) -> list[list[str]]:
    """Return the rows of a size.

    Raises:
        RuntimeError: Two that must find or show the same do not.
    """
    catalogue = "" if num_products <= IN_MEMORY else str(options.folder / f"{num_products}.sqlite")
    if catalogue and not Path(catalogue).exists():
        write_catalogue(catalogue, generate_records(num_products))
    racing = contestants(options)
    indexes = {one.name: str(options.folder / f"{num_products}.{one.name}") if catalogue else "" for one in racing}
    made = {one.name: _made(one, catalogue, indexes[one.name]) for one in racing}
    searches, steps = Race(), Race()
    with ExitStack() as stack:
        workers = {
            one.name: stack.enter_context(
                Worker(one, catalogue=catalogue, num_products=num_products, index=indexes[one.name])
            )
            for one in racing
        }
        shops = {name: worker for name, worker in workers.items() if name != "tantivy"}
        queries = next(iter(shops.values())).ask("queries", options.searches)
        for worker in workers.values():
            worker.ask("search", queries[: options.turn])  # what is read or imported once is not counted
        for turn in _turns(options.searches, options.turn):
            told = {name: worker.ask("search", queries[turn.start : turn.stop]) for name, worker in workers.items()}
            for name, answer in told.items():
                searches.add(name, answer["seconds"], len(turn))
            _check_alike({name: answer["found"] for name, answer in told.items() if name != "tantivy"}, "find")
        built_in = {name: worker.ask("hits", queries) for name, worker in shops.items() if name != "lucene"}
        _check_alike(built_in, "score")
        for turn in _turns(options.episodes, options.turn):
            _check_alike({name: shop.ask("texts", turn.start, turn.stop) for name, shop in shops.items()}, "show")
            for name, shop in shops.items():
                answer = shop.ask("steps", turn.start, turn.stop)
                steps.add(name, answer["seconds"], answer["steps"])
    base = racing[0].name
    return [
        [f"{num_products:,}", name, *made[name], *searches.cells(name, base), *steps.cells(name, base)]
        for name in indexes
    ]


def _made(one: Contestant, catalogue: str, index: str) -> list[str]:
    """Write an index that is not there in a process of its own; return seconds, size and peak memory as cells."""
    if not catalogue or one.engine == "tantivy" or Path(index).exists():
        return ["", "", ""]
    with Worker(one, catalogue=catalogue, index=index) as worker:
        told = worker.ask("")
    return [f"{told['seconds']:.0f}", f"{told['megabytes']:,.0f}", f"{told['peak']:,.0f}"]


def _turns(number: int, turn: int) -> list[range]:
    return [range(first, min(number, first + turn)) for first in range(0, number, turn)]


def _check_alike(told: dict[str, Any], what: str) -> None:
    """Raise an error where contestants disagree."""
    names = list(told)
    for name in names[1:]:
        if told[name] != told[names[0]]:
            raise RuntimeError(f"{names[0]} and {name} do not {what} the same")


def report(options: Options) -> str:
    """Measure and return a page in Markdown.

    Raises:
        InputError: There is no checkout to compare with, or tantivy is asked for and not installed.
    """
    if options.against is not None and not (options.against / "src" / "turngym").is_dir():
        raise InputError(f"{options.against} is no checkout of turngym: it has no folder src/turngym")
    if "tantivy" in options.engines and find_spec("tantivy") is None:
        raise InputError("tantivy is not installed: pip install tantivy, or leave it out of --engines")
    if options.against is None and set(options.engines) <= {"tantivy"}:
        raise InputError("queries are goals of a shop, and tantivy is none: name bm25 or lucene among --engines too")
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = [row for num_products in options.num_products for row in measure(options, num_products)]
    columns = ["products", "engine", "index, s", "MB on the disk", "peak memory, MB", "searches/s", "ratio",
               "scripted steps/s", "ratio"]  # fmt: skip
    return (
        "# The shop's search\n\n"
        f"Per processor second of the process, {options.searches:,} searches for {MAX_RESULTS} products and "
        f"{options.episodes:,} episodes of the script,\nin turns of {options.turn}. Ratios are to the first engine of "
        "the same size, with the least and the greatest of a turn.\n`before` is the built-in engine of an earlier "
        "commit; it finds the same products with the same scores, and the pages\nare the same to the byte. Memory is "
        f"that of writing the index. {platform.machine()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}.\n\n    {' '.join(['python -m turngym.benchmarks.search_speed', *sys.argv[1:]])}"
        f"\n\n{table(columns, rows)}\n"
    )


def main(options: Options) -> str:
    """Measure, write the page if a file is named, and return it."""
    return kept(report(options), options.out)


if __name__ == "__main__":
    print(main(tyro.cli(Options)))
