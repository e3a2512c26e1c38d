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

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from unittest.mock import patch

import tyro
from tyro.conf import Positional, arg

from turngym._errors import InputError
from turngym.benchmarks import shop as scripted_shopping
from turngym.benchmarks.page import kept, table
from turngym.benchmarks.shop import peak_memory, shop_by_script
from turngym.webshop_server.catalogue import generate_records, open_catalogue, write_catalogue
from turngym.webshop_server.pages import Part, plain_text
from turngym.webshop_server.search import documents_of, save_index
from turngym.webshop_server.settings import ShopSettings
from turngym.webshop_server.shop import MAX_RESULTS, LocalBackend, open_shop

Engine = Literal["bm25", "lucene", "tantivy"]
BEFORE = "before"
WORKER = "import runpy, sys; runpy.run_path(sys.argv[1])['work'](sys.argv[2:])"
"""What the process of an engine runs: this file, with the package of whichever checkout is asked for."""
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


# In the process of an engine ----------------------------------------------------------------------------------------


class Tantivy:
    """An index of tantivy over a catalogue, in memory."""

    def __init__(self, documents: Iterator[tuple[str, str]]) -> None:
        tantivy = import_module("tantivy")
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("identifier", stored=True, tokenizer_name="raw")
        schema.add_text_field("text", tokenizer_name="en_stem")
        self._index = tantivy.Index(schema.build())
        writer = self._index.writer(128_000_000, 1)
        for identifier, text in documents:
            document = tantivy.Document()
            document.add_text("identifier", identifier)
            document.add_text("text", text)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, query: str, limit: int) -> list[str]:
        """Return the identifiers of the best documents that have a word of the query."""
        words = self._index.parse_query(" ".join(re.findall(r"\w+", query)), ["text"])
        hits = self._searcher.search(words, limit, count=False).hits
        return [self._searcher.doc(address)["identifier"][0] for _, address in hits]


class Desk:
    """What an engine's process is asked for.

    Args:
        engine: The search engine.
        catalogue: The file of the catalogue; empty for one in memory.
        num_products: Its size.
        index: The folder of its index; empty for one in memory.
    """

    def __init__(self, engine: Engine, catalogue: str, num_products: int, index: str) -> None:
        shops = "bm25" if engine == "tantivy" else engine
        size = 0 if catalogue else num_products
        if engine == "tantivy":
            self._backend: LocalBackend | None = None
            opened = open_catalogue(catalogue, num_products=size or None)
            self._search: Callable[[str, int], Sequence[str]] = Tantivy(documents_of(opened)).search
        else:
            self._backend = open_shop(ShopSettings(catalogue=catalogue, num_products=size, engine=shops, index=index))
            self._search = self._backend.shop.search

    def search(self, queries: list[str]) -> dict[str, Any]:
        """Search; return processor seconds and what was found."""
        began = time.process_time()
        found = [list(self._search(query, MAX_RESULTS)) for query in queries]
        return {"seconds": time.process_time() - began, "found": found}

    def hits(self, queries: list[str]) -> str:
        """Return a digest of what is found, with scores to the last bit; empty of engines that are not built in."""
        index: Any = getattr(self._search, "__self__", None)
        if self._backend is None or type(index).__name__ != "BM25Index":
            return ""
        found = [[(name, score.hex()) for name, score in index.hits(query, MAX_RESULTS)] for query in queries]
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def queries(self, number: int) -> list[str]:
        """Return instructions of the first goals."""
        assert self._backend is not None
        return [self._backend.goals[at % len(self._backend.goals)].instruction.lower() for at in range(number)]

    def steps(self, first: int, end: int) -> dict[str, Any]:
        """Play goals by the script; return processor seconds and the number of steps."""
        assert self._backend is not None
        began = time.process_time()
        steps = sum(shop_by_script(self._backend, number)[0] for number in range(first, end))
        return {"seconds": time.process_time() - began, "steps": steps}

    def texts(self, first: int, end: int) -> str:
        """Return a digest of all pages that the script reads."""
        assert self._backend is not None
        texts = hashlib.sha256()

        def read(parts: Sequence[Part]) -> None:
            texts.update(plain_text(parts).encode())

        with patch.object(scripted_shopping, "plain_text", read):
            for number in range(first, end):
                texts.update(repr(shop_by_script(self._backend, number)).encode())
        return texts.hexdigest()


def work(arguments: Sequence[str]) -> None:
    """Do what is asked for on the standard input, a line of JSON each; the first argument says of whom."""
    given = json.loads(arguments[0])
    desk = Desk(**given) if "num_products" in given else None
    for line in sys.stdin:
        name, values = json.loads(line)
        told = built(**given) if desk is None else getattr(desk, name)(*values)
        print(json.dumps(told), flush=True)


def built(engine: Engine, catalogue: str, index: str) -> dict[str, float]:
    """Write an index; return processor seconds, its size and the peak memory of this process, in MB."""
    assert engine != "tantivy"
    began = time.process_time()
    opened = open_catalogue(catalogue)
    save_index(engine, documents_of(opened), Path(index), fingerprint=opened.fingerprint)
    size = sum(path.stat().st_size for path in Path(index).rglob("*")) / 2**20
    return {"seconds": time.process_time() - began, "megabytes": size, "peak": peak_memory()}


# In the process that compares ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contestant:
    """An engine of a checkout."""

    name: str
    engine: Engine
    checkout: Path | None = None
    """Whose; this one's if None."""


class Worker:
    """The process of a contestant; a context that ends it.

    Args:
        contestant: Who.
        given: The arguments of `Desk`, or of `built`, but for the engine.
    """

    def __init__(self, contestant: Contestant, **given: object) -> None:
        elsewhere = {"PYTHONPATH": str(contestant.checkout / "src")} if contestant.checkout else {}
        command = [sys.executable, "-P", "-c", WORKER, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(
            [*command, json.dumps({"engine": contestant.engine, **given})],
            env=os.environ | elsewhere, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def ask(self, name: str, *values: object) -> Any:
        """Return what a method of the desk returns.

        Raises:
            RuntimeError: The process ended; its own error is on stderr.
        """
        print(json.dumps([name, values]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline() if self._process.stdout else ""
        if not answer:
            raise RuntimeError("the process of an engine ended before its answer; its error is above")
        return json.loads(answer)


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
