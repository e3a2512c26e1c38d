"""How the shop's site bears many visitors, and those that mean it ill.

First many visitors at once, half of them with pages and half over the interface for agents, ask so many times a
second; who has bought begins anew. A wait is counted from the moment at which the request was due. Then short sessions
follow each other: begin, search, look at the first result, buy. Long sessions show what one keeps in memory. At last
come a flood of sessions, slow connections, and the signal to stop while requests are outstanding.

    python -m turngym.benchmarks.shop_load
"""

from __future__ import annotations

import asyncio
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import tyro

from turngym.benchmarks.page import kept, table
from turngym.benchmarks.shop_flood import FloodOptions, flooded
from turngym.benchmarks.shop_visitors import (
    AGENTS,
    PAGES,
    SCRIPTS,
    Connection,
    Script,
    Site,
    looking_around,
    served,
    waits_ms,
)

WORKERS = 8
"""How many connections the short sessions use."""
ROWS = 10
"""How often the memory is looked at."""


@dataclass(frozen=True)
class Options(FloodOptions):
    """Measure the shop's site under load and flood."""

    visitors: int = 200
    """Visitors at once."""
    rate: float = 100.0
    """Requests per second, of all visitors together."""
    seconds: float = 30.0
    """How long they go on."""
    sessions: int = 100_000
    """Short sessions after that."""
    long_sessions: int = 500
    """Long sessions after that."""
    pages: int = 60
    """Pages of results that each of them looks at."""
    num_products: int = 1000
    """Size of the catalogue."""
    machine: str = ""
    """What the machine is, for the page."""
    out: Path | None = None
    """A file for the page."""


@dataclass
class Waits:
    """How long requests took, in seconds, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {PAGES: [], AGENTS: []})
    errors: list[str] = field(default_factory=list)


# Visitors -----------------------------------------------------------------------------------------------------------


async def play(
    connection: Connection, kind: str, waits: Waits, due: Callable[[], float | None], script: Script | None = None
) -> bool:
    """Play a session; return whether there was time for the whole.

    Args:
        connection: To the site.
        kind: Which script, and to what its waits are counted.
        waits: Takes the waits and errors.
        due: Gives the time at which the next request is due, None if there is none.
        script: What to do; what visitors of this kind do if None.
    """
    script = SCRIPTS[kind]() if script is None else script
    request = next(script)
    while (at := due()) is not None:
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        try:
            answer = await connection.ask(request)
            waits.seconds[kind].append(time.perf_counter() - at)
            if answer.status >= 400:
                waits.errors.append(f"{request.method} {request.path[:80]}: {answer.status} {answer.body[:200]}")
                return True
            request = script.send(answer)
        except StopIteration:
            return True
        except (OSError, EOFError, LookupError) as error:
            waits.errors.append(f"{request.method} {request.path[:80]}: {error!r}")
            await connection.close()
            return True
    return False


async def crowd(port: int, options: Options) -> Waits:
    """Let the visitors ask at their times, evenly spread; return how long they waited."""
    waits, begin = Waits(), time.perf_counter() + 0.5
    end = begin + options.seconds

    async def visitor(number: int) -> None:
        times = (begin + (number + turn * options.visitors) / options.rate for turn in count())
        connection, kind = Connection(port), (PAGES, AGENTS)[number % 2]

        def due() -> float | None:
            at = next(times)
            return at if at < end else None

        while await play(connection, kind, waits, due):
            pass
        await connection.close()

    await asyncio.gather(*map(visitor, range(options.visitors)))
    return waits


async def follow_on(port: int, numbers: range, pages: int | None = None) -> list[str]:
    """Play sessions as fast as the site answers, short ones, or such with so many pages; return what went wrong."""
    waits, left = Waits(), iter(numbers)

    async def visitor() -> None:
        connection = Connection(port)
        for number in left:
            script = None if pages is None else looking_around(pages)
            kind = PAGES if script else (PAGES, AGENTS)[number % 2]
            await play(connection, kind, waits, time.perf_counter, script)
        await connection.close()

    await asyncio.gather(*(visitor() for _ in range(WORKERS)))
    return waits.errors


# The site -----------------------------------------------------------------------------------------------------------


def row_of(name: str, seconds: list[float]) -> list[str]:
    """Return the row of the waits of some requests."""
    return [name, f"{len(seconds):,}", *(f"{wait:.1f}" for wait in waits_ms(seconds, (0.5, 0.95, 0.99, 1)))]


def borne(options: Options, site: Site) -> str:
    """Measure how many visitors are borne; return this part of the page."""
    waits = asyncio.run(crowd(site.port, options))
    columns = ["requests of", "number", "p50, ms", "p95, ms", "p99, ms", "longest, ms"]
    everything = [wait for each in waits.seconds.values() for wait in each]
    waited = [row_of(kind, each) for kind, each in waits.seconds.items()] + [row_of("all", everything)]
    return (
        f"{options.visitors} visitors at once, {options.rate:g} requests per second for {options.seconds:g} s:\n\n"
        f"{table(columns, waited)}\n\n{told(waits.errors)}"
    )


def kept_in_memory(options: Options, site: Site) -> str:
    """Measure how the memory grows with sessions; return this part of the page."""
    rows, errors, started = [], [], time.perf_counter()
    step = max(1, options.sessions // ROWS)
    for first in range(0, options.sessions, step):
        numbers = range(first, min(first + step, options.sessions))
        errors += asyncio.run(follow_on(site.port, numbers))
        elapsed = time.perf_counter() - started
        rows.append([f"{numbers.stop:,}", f"{site.memory:.1f}", f"{elapsed:.0f}", f"{numbers.stop / elapsed:.0f}"])
    before = site.memory
    errors += asyncio.run(follow_on(site.port, range(options.long_sessions), options.pages))
    grown = site.memory - before
    each = 1024 * grown / max(1, options.long_sessions)
    return (
        f"Then short sessions over {WORKERS} connections, half of them with pages:\n\n"
        f"{table(['sessions', 'memory of the site, MB', 'seconds', 'sessions/s'], rows)}\n\n"
        f"Then {options.long_sessions} sessions that look at {options.pages} pages of results each and buy nothing: "
        f"{grown:.1f} MB more, {each:.0f} KB each.\n\n{told(errors)}"
    )


def told(errors: list[str]) -> str:
    """Return how many errors there were, with the first of them."""
    return f"Errors: {len(errors)}.\n" + "".join(f"    {error}\n" for error in errors[:9])


def report(options: Options) -> str:
    """Measure and return a page in Markdown."""
    machine = f", {options.machine}" if options.machine else ""
    with served(options.num_products) as site:
        parts = [borne(options, site), kept_in_memory(options, site)]
    command = shlex.join(["python", "-m", "turngym.benchmarks.shop_load", *sys.argv[1:]])
    opening = f"Python {platform.python_version()}{machine}. The visitors run on the same machine.\n\n    {command}\n"
    return "\n".join(["# The shop's site under load\n", opening, *parts, flooded(options, options.num_products)])


def main(options: Options) -> str:
    """Measure, write the page if a file is named, and return it."""
    return kept(report(options), options.out)


if __name__ == "__main__":
    print(main(tyro.cli(Options)))
