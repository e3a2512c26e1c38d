"""How the shop's site bears many visitors: how long they wait, and how its memory grows.

First many visitors at once, half of them with pages and half over the interface for agents, ask so many times a
second; who has bought begins anew. A wait is counted from the moment at which the request was due. Then short sessions
follow each other: begin, search, look at the first result, buy.

    python -m turngym.benchmarks.shop_load
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import tyro

from turngym.benchmarks.page import kept, table

WORKERS = 8
"""How many connections the short sessions use."""
ROWS = 10
"""How often the memory is looked at."""
PAGES, AGENTS = "pages", "agents"


class Request(NamedTuple):
    """What is asked for."""

    method: str
    path: str
    body: str = ""


class Answer(NamedTuple):
    """What was answered."""

    status: int
    location: str
    body: str


Script = Generator[Request, Answer, None]


@dataclass(frozen=True)
class Options:
    """Measure the shop's site under load."""

    visitors: int = 200
    """Visitors at once."""
    rate: float = 100.0
    """Requests per second, of all visitors together."""
    seconds: float = 30.0
    """How long they go on."""
    sessions: int = 100_000
    """Short sessions after that."""
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


def with_pages() -> Script:
    """Shop as a browser does."""
    answer = yield Request("GET", "/")
    start = answer.location
    answer = yield Request("GET", start)
    wish = unescape(re.findall(r"<h4>Instruction:<br>(.*?)</h4>", answer.body)[0])
    answer = yield Request("POST", start, urlencode({"search_query": wish}))
    answer = yield Request("GET", answer.location)
    answer = yield Request("GET", re.findall(r'href="(/item_page/[^"]+)"', answer.body)[0])
    answer = yield Request("POST", re.findall(r'action="(/done/[^"]+)"', answer.body)[0])
    yield Request("GET", answer.location)


def as_agent() -> Script:
    """Shop over the interface for agents."""
    answer = yield Request("POST", "/api/sessions", "{}")
    state = json.loads(answer.body)
    path = f"/api/sessions/{state['session']}/actions"
    answer = yield Request("POST", path, json.dumps({"action": f"search[{state['instruction']}]"}))
    first = next(action for action in json.loads(answer.body)["actions"] if not re.fullmatch(r"click\[.* .*\]", action))
    yield Request("POST", path, json.dumps({"action": first}))
    yield Request("POST", path, json.dumps({"action": "click[buy now]"}))


SCRIPTS: dict[str, Callable[[], Script]] = {PAGES: with_pages, AGENTS: as_agent}


class Connection:
    """A connection that is kept.

    Args:
        port: Of the site on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> Answer:
        """Return what is answered.

        Raises:
            OSError: The connection is lost.
            asyncio.IncompleteReadError: It is lost within an answer.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        kind = "application/json" if request.path.startswith("/api/") else "application/x-www-form-urlencoded"
        body = request.body.encode()
        writer.write(
            f"{request.method} {request.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers.get("location", ""), content.decode())

    async def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()
            self._streams = None


async def play(connection: Connection, kind: str, waits: Waits, due: Callable[[], float | None]) -> bool:
    """Play a session; return whether there was time for the whole.

    Args:
        connection: To the site.
        kind: Which script.
        waits: Takes the waits and errors.
        due: Gives the time at which the next request is due, None if there is none.
    """
    script = SCRIPTS[kind]()
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


async def follow_on(port: int, numbers: range) -> list[str]:
    """Play short sessions as fast as the site answers; return what went wrong."""
    waits, left = Waits(), iter(numbers)

    async def visitor() -> None:
        connection = Connection(port)
        for number in left:
            await play(connection, (PAGES, AGENTS)[number % 2], waits, time.perf_counter)
        await connection.close()

    await asyncio.gather(*(visitor() for _ in range(WORKERS)))
    return waits.errors


# The site -----------------------------------------------------------------------------------------------------------


@contextmanager
def served(num_products: int) -> Iterator[tuple[int, int]]:
    """Run the site in a process of its own; give its process number and its port."""
    words = ["webshop", "serve", "--port", "0", "--no-log", "--num-products", str(num_products)]
    with subprocess.Popen(
        [sys.executable, "-m", "turngym", *words],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "300"},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/ ", process.stdout.readline())
            yield process.pid, int(port)
        finally:
            process.terminate()


def memory(process: int) -> float:
    """Return how much memory a process has, in MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def row_of(name: str, seconds: list[float]) -> list[str]:
    """Return the row of the waits of some requests."""
    ordered = sorted(seconds) or [0.0]
    cells = [
        f"{1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]:.1f}" for share in (0.5, 0.95, 0.99, 1)
    ]
    return [name, f"{len(seconds):,}", *cells]


def report(options: Options) -> str:
    """Measure and return a page in Markdown."""
    rows = []
    with served(options.num_products) as (process, port):
        waits = asyncio.run(crowd(port, options))
        errors, started, step = list(waits.errors), time.perf_counter(), max(1, options.sessions // ROWS)
        for first in range(0, options.sessions, step):
            numbers = range(first, min(first + step, options.sessions))
            errors += asyncio.run(follow_on(port, numbers))
            elapsed = time.perf_counter() - started
            rows.append(
                [f"{numbers.stop:,}", f"{memory(process):.1f}", f"{elapsed:.0f}", f"{numbers.stop / elapsed:.0f}"]
            )
    machine = f", {options.machine}" if options.machine else ""
    columns = ["requests of", "number", "p50, ms", "p95, ms", "p99, ms", "longest, ms"]
    everything = [wait for each in waits.seconds.values() for wait in each]
    waited = [row_of(kind, each) for kind, each in waits.seconds.items()] + [row_of("all", everything)]
    told = "".join(f"    {error}\n" for error in errors[:9])
    return (
        f"# The shop's site under load\n\nPython {platform.python_version()}{machine}. The visitors run on the same "
        f"machine.\n\n    {shlex.join(['python', '-m', 'turngym.benchmarks.shop_load', *sys.argv[1:]])}\n\n"
        f"{options.visitors} visitors at once, {options.rate:g} requests per second for {options.seconds:g} s:\n\n"
        f"{table(columns, waited)}\n\nThen short sessions over {WORKERS} connections, half of them with pages:\n\n"
        f"{table(['sessions', 'memory of the site, MB', 'seconds', 'sessions/s'], rows)}\n\n"
        f"Errors: {len(errors)}.\n{told}"
    )


def main(options: Options) -> str:
    """Measure, write the page if a file is named, and return it."""
    return kept(report(options), options.out)


if __name__ == "__main__":
    print(main(tyro.cli(Options)))
