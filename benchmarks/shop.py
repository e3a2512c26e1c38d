"""How fast the shop is: its start, its memory, shopping by a script, and its search.

The script of an episode: search for the instruction, look at the first result, choose the first value of every option,
and buy. A search page is a search and the text of its first ten results.

    python -m turngym.benchmarks.shop --catalogue FOLDER        # without a folder: the generated catalogue
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from turngym.benchmarks.page import kept, table
from turngym.webshop_server.pages import Choice, Page, PageKind, plain_text
from turngym.webshop_server.settings import Mode, ShopSettings
from turngym.webshop_server.shop import MAX_RESULTS, LocalBackend, open_shop

REPEATS = 3
"""How often everything is timed: the first time, when nothing was seen before, and the best of all count."""


@dataclass(frozen=True)
class Options:
    """Measure the shop."""

    catalogue: str = ""
    """A catalogue file, or a folder with the original's files; the generated catalogue if empty."""
    num_products: int = 1000
    """Size of the catalogue; 0 for all of a catalogue that is read."""
    episodes: int = 500
    """Episodes of the script, and searches."""
    out: Path | None = None
    """A file for the table."""


def shop_by_script(backend: LocalBackend, number: int) -> tuple[int, float]:
    """Play one goal by the script, reading every page; return the steps and the reward."""
    session = backend.open_session(number)
    steps = 0

    def act(action: str) -> Page:
        nonlocal steps
        steps += 1
        session.act(action)
        plain_text(session.parts)
        return session.page

    page = act(f"search[{session.page.goal.instruction}]")
    if not page.listed:
        return steps, 0.0
    act(f"click[{page.listed[0]}]")
    choices = {part.option: part.text for part in reversed(session.parts) if isinstance(part, Choice)}
    for text in reversed(choices.values()):
        act(f"click[{text}]")
    bought = act("click[buy now]")
    return steps, bought.reward or 0.0


def search_page(backend: LocalBackend, number: int) -> str:
    """Search for one goal's instruction and return the first page of the results."""
    page = backend.shop.open(backend.goals[number], str(number))
    found = tuple(backend.shop.search(page.goal.instruction.lower(), MAX_RESULTS))
    return plain_text(backend.shop.layout(replace(page, kind=PageKind.RESULTS, keywords=("x",), found=found)))


def rates_of(work: Callable[[], int]) -> str:
    """Return units per processor second of work that returns its units, the first time and at best."""
    rates = []
    for _ in range(REPEATS):
        started = time.process_time()
        units = work()
        rates.append(units / (time.process_time() - started))
    return f"{rates[0]:,.0f} / {max(rates):,.0f}"


def measure(options: Options, mode: Mode) -> list[str]:
    """Return the cells of a mode's row."""
    settings = ShopSettings(catalogue=options.catalogue, num_products=options.num_products, mode=mode)
    started = time.process_time()
    backend = open_shop(settings)
    opening = time.process_time() - started
    numbers = [number % len(backend.goals) for number in range(options.episodes)]
    queries = [backend.goals[number].instruction.lower() for number in numbers]
    searches = rates_of(lambda: len([backend.shop.search(query, MAX_RESULTS) for query in queries]))
    pages = rates_of(lambda: len([search_page(backend, number) for number in numbers]))
    steps = rates_of(lambda: sum(shop_by_script(backend, number)[0] for number in numbers))
    reward = sum(shop_by_script(backend, number)[1] for number in numbers) / len(numbers)
    return [mode, f"{len(backend.shop.catalogue):,}", f"{len(backend.goals):,}", f"{opening:.2f}", steps, pages,
            searches, f"{reward:.3f}"]  # fmt: skip


def peak_memory() -> float:
    """Return the most memory that this process has had, in MB."""
    megabyte = 1 << (20 if sys.platform == "darwin" else 10)  # counted in bytes there, in kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / megabyte


def report(options: Options) -> str:
    """Measure and return a page in Markdown."""
    columns = ["mode", "products", "goals", "opening, s", "scripted steps/s", "search pages/s", "searches/s", "reward"]
    rows = [measure(options, mode) for mode in ("fixed", "faithful")]
    return (
        f"# The shop\n\nBy processor seconds of one thread, {options.episodes} episodes or searches: the first time / "
        f"the best of {REPEATS}, with what is remembered of the first. Python {platform.python_version()}.\n\n"
        f"    {' '.join(['python -m turngym.benchmarks.shop', *sys.argv[1:]])}\n\n"
        f"{table(columns, rows)}\n\nPeak memory of the process, both shops in it: {peak_memory():.0f} MB.\n"
    )


def main(options: Options) -> str:
    """Measure, write the page if a file is named, and return it."""
    return kept(report(options), options.out)


if __name__ == "__main__":
    print(main(tyro.cli(Options)))
