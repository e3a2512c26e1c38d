"""How the shop bears a catalogue as large as the original's: writing, indexing, starting, searching and shopping.

Every part runs in a fresh process, so that its peak memory is its own; pages of the index that are mapped into memory
count. The start lasts from the start of the process until the first search is answered. Queries are instructions.

    python -m turngym.benchmarks.large_shop FOLDER --engines bm25 lucene
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from tyro.conf import Positional, arg

from turngym.benchmarks.page import kept, table
from turngym.benchmarks.shop import peak_memory, shop_by_script
from turngym.webshop_server.catalogue import MAX_PRODUCTS, generate_records, open_catalogue, write_catalogue
from turngym.webshop_server.search import documents_of, save_index
from turngym.webshop_server.settings import Engine, ShopSettings
from turngym.webshop_server.shop import MAX_RESULTS, open_shop

_Figures = TypeVar("_Figures")


@dataclass(frozen=True)
class Options:
    """Measure the shop with a large catalogue."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Where the catalogue and its indexes are written; what is there under their names is replaced."""
    num_products: int = MAX_PRODUCTS
    """Size of the catalogue."""
    engines: tuple[Engine, ...] = ("bm25",)
    """The search engines."""
    searches: int = 1000
    """How many searches."""
    episodes: int = 300
    """How many episodes of the script."""
    out: Path | None = None
    """A file for the page."""

    @property
    def catalogue(self) -> Path:
        """The file of the catalogue."""
        return self.folder / "shop.sqlite"


@dataclass(frozen=True, slots=True)
class Making:
    """How something was written."""

    seconds: float
    megabytes: float
    """Size on the disk."""
    peak: float
    """Memory of the process, in MB."""

    @property
    def cells(self) -> list[str]:
        """The figures as text."""
        return [f"{self.seconds:.0f}", f"{self.megabytes:,.0f}", f"{self.peak:,.0f}"]


def write(options: Options) -> Making:
    """Write the catalogue."""
    began = time.perf_counter()
    write_catalogue(options.catalogue, generate_records(options.num_products))
    return Making(time.perf_counter() - began, size_of(options.catalogue), peak_memory())


def index(options: Options, engine: Engine) -> Making:
    """Write an index over the catalogue."""
    began = time.perf_counter()
    catalogue = open_catalogue(str(options.catalogue))
    save_index(engine, documents_of(catalogue), options.folder / engine, fingerprint=catalogue.fingerprint)
    return Making(time.perf_counter() - began, size_of(options.folder / engine), peak_memory())


def shop(options: Options, engine: Engine, started: float) -> list[str]:
    """Open the shop, search and play; return the cells of the engine's row.

    Args:
        options: What to do.
        engine: The search engine.
        started: The time, in seconds of `time.time`, at which this process was started.
    """
    backend = open_shop(
        ShopSettings(catalogue=str(options.catalogue), engine=engine, index=str(options.folder / engine))
    )
    backend.shop.search(backend.goals[0].instruction.lower(), MAX_RESULTS)
    start, start_peak = time.time() - started, peak_memory()
    queries = [goal.instruction.lower() for goal in backend.goals[: options.searches]]
    search_rates = rates_of(lambda: len([backend.shop.search(query, MAX_RESULTS) for query in queries]))
    search_peak = peak_memory()
    step_rates = rates_of(lambda: sum(shop_by_script(backend, number)[0] for number in range(options.episodes)))
    return [engine, f"{len(backend.goals):,}", f"{start:.1f}", f"{start_peak:,.0f}", search_rates,
            f"{search_peak:,.0f}", step_rates, f"{peak_memory():,.0f}"]  # fmt: skip


def rates_of(work: Callable[[], int]) -> str:
    """Return units per second and per processor second of work that returns its units."""
    began, began_processor = time.perf_counter(), time.process_time()
    units = work()
    return f"{units / (time.perf_counter() - began):,.1f} / {units / (time.process_time() - began_processor):,.1f}"


def size_of(path: Path) -> float:
    """Return the size of a file or folder in MB."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 2**20


def apart(work: Callable[..., _Figures], *given: object) -> _Figures:
    """Return what a function returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def report(options: Options) -> str:
    """Measure and return a page in Markdown."""
    options.folder.mkdir(parents=True, exist_ok=True)
    made = [["catalogue", *apart(write, options).cells]]
    made += [[f"index {engine}", *apart(index, options, engine).cells] for engine in options.engines]
    shops = [apart(shop, options, engine, time.time()) for engine in options.engines]
    making = table(["", "seconds", "MB on the disk", "peak memory, MB"], made)
    shopping = table(
        ["engine", "goals", "start, s", "memory after it, MB", "searches/s", "after searches, MB", "scripted steps/s",
         "after episodes, MB"], shops,
    )  # fmt: skip
    return (
        f"# The shop with {options.num_products:,} products\n\nRates are per second / per processor second; memory is "
        f"the process's peak so far. {options.searches:,} searches, {options.episodes:,} episodes. Python "
        f"{platform.python_version()}.\n\n    {' '.join(['python -m turngym.benchmarks.large_shop', *sys.argv[1:]])}"
        f"\n\n{making}\n\n{shopping}\n"
    )


def main(options: Options) -> str:
    """Measure, write the page if a file is named, and return it."""
    return kept(report(options), options.out)


if __name__ == "__main__":
    print(main(tyro.cli(Options)))
