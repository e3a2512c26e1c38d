"""What visitors that mean it ill can do to the shop's site: a flood of sessions, slow connections; and its end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context

from turngym.benchmarks.page import table
from turngym.benchmarks.shop_visitors import KEY, Connection, Request, Site, served, waits_ms

BEGIN = Request("POST", "/api/sessions", "{}")
ELSEWHERE = "127.0.0.2"
"""Another address of this machine, which the site takes for another client."""
TRICKLE_SECONDS = 1.0
"""How often a slow connection sends a byte."""
ASK_SECONDS = 0.1
"""How often a visitor asks meanwhile."""


@dataclass(frozen=True)
class FloodOptions:
    """How much is sent."""

    flood: int = 4096
    """Sessions that one client begins."""
    slow: int = 2000
    """Connections that one client opens, to send a byte now and then."""
    slow_seconds: float = 30.0
    """How long these go on."""
    outstanding: int = 50
    """Requests that are outstanding when the site is told to stop."""
    stops: int = 3
    """How often that is tried."""


def flooded(options: FloodOptions, num_products: int) -> str:
    """Measure all of it and return this part of a page."""
    with served(num_products) as site:
        sessions = asyncio.run(flood_of_sessions(site, options.flood))
        waits = slow_connections(site.port, options)
    rows = [[str(trial + 1), *stopped(options.outstanding, num_products)] for trial in range(options.stops)]
    return (
        f"One client without the key begins {options.flood:,} sessions:\n\n{sessions}\n\n"
        f"One client keeps opening connections up to {options.slow:,} and sends a byte over each every "
        f"{TRICKLE_SECONDS:g} s, for {options.slow_seconds:g} s; meanwhile visitors ask every {ASK_SECONDS:g} s, each "
        f"time over a new connection:\n\n"
        f"{waits}\n\nSIGTERM while {options.outstanding} requests are outstanding:\n\n"
        f"{table(['trial', 'answered in full', 'seconds until the end', 'exit code'], rows)}\n"
    )


async def flood_of_sessions(site: Site, number: int) -> str:
    """Begin many sessions as one client; return what became of them and of the sessions of others."""
    others = {"from elsewhere": Connection(site.port, ELSEWHERE), "with the key": Connection(site.port, key=KEY)}
    begun = {name: json.loads((await one.ask(BEGIN)).body)["session"] for name, one in others.items()}
    own = Connection(site.port)
    mine = json.loads((await own.ask(BEGIN)).body)["session"]
    statuses = Counter([(await own.ask(BEGIN)).status for _ in range(number)])
    rows = [["the client itself", await standing(own, mine), _shown(statuses.items())]]
    for name, one in others.items():
        rows.append([name, await standing(one, begun[name]), str((await one.ask(BEGIN)).status)])
        await one.close()
    await own.close()
    return table(["client", "the session that it had before", "answers to further sessions"], rows)


async def standing(connection: Connection, session: str) -> str:
    """Return whether a session is still there."""
    answer = await connection.ask(Request("GET", f"/api/sessions/{session}"))
    return "there" if answer.status == 200 else f"gone ({answer.status})"


def slow_connections(port: int, options: FloodOptions) -> str:
    """Open slow connections as one client, in a process of its own; return how long visitors wait meanwhile."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        trickles = pool.submit(trickle_all, port, options.slow, options.slow_seconds)
        time.sleep(min(3.0, options.slow_seconds / 2))
        rows = asyncio.run(visitors(port, options.slow_seconds / 2))
        closed = trickles.result()
    waits = table(["visitor", "answered", "not answered", "p50, ms", "longest, ms"], rows)
    return f"{waits}\n\n{closed:,} slow connections were closed by the site."


async def visitors(port: int, seconds: float) -> tuple[list[str], list[str]]:
    """Ask as the client that has the slow connections, and as another one; return rows about their waits."""
    end = time.monotonic() + seconds
    return await asyncio.gather(
        ask_on("the same client", lambda: Connection(port), end),
        ask_on("another client", lambda: Connection(port, ELSEWHERE), end),
    )


def trickle_all(port: int, number: int, seconds: float) -> int:
    """Keep so many slow connections; return how often one was closed."""

    async def all_of_them() -> int:
        end = time.monotonic() + seconds
        return sum(await asyncio.gather(*(trickle(port, end) for _ in range(number))))

    return asyncio.run(all_of_them())


async def trickle(port: int, end: float) -> int:
    """Send a request byte by byte and begin again when the connection is closed; return how often that was."""
    closed = 0
    while time.monotonic() < end:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            with suppress(OSError):
                while time.monotonic() < end:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(TRICKLE_SECONDS)
            closed += time.monotonic() < end
            writer.close()
        await asyncio.sleep(TRICKLE_SECONDS)
    return closed


async def ask_on(name: str, connect: Callable[[], Connection], end: float) -> list[str]:
    """Ask for a new connection each time; return a row about the waits."""
    seconds, failed = [], 0
    while time.monotonic() < end:
        began, connection = time.monotonic(), connect()
        try:
            answer = await asyncio.wait_for(connection.ask(Request("GET", "/api/shop")), 10)
            failed += answer.status != 200
            seconds.append(time.monotonic() - began)
        except (OSError, EOFError, TimeoutError):
            failed += 1
        with suppress(OSError):
            await connection.close()
        await asyncio.sleep(ASK_SECONDS)
    return [name, str(len(seconds)), str(failed), *(f"{wait:.1f}" for wait in waits_ms(seconds, (0.5, 1)))]


def stopped(outstanding: int, num_products: int) -> list[str]:
    """Tell a site to stop while requests are outstanding; return how many were answered, after when, and its code."""

    async def ask_all(site: Site) -> int:
        connections = [Connection(site.port) for _ in range(outstanding)]
        for connection in connections:
            await connection.ask(Request("GET", "/health"))
        asked = [asyncio.create_task(connection.ask(BEGIN)) for connection in connections]
        await asyncio.sleep(0)  # which is when all are sent
        site.process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for connection in connections:
            with suppress(OSError):
                await connection.close()
        return sum(not isinstance(answer, BaseException) and answer.status == 201 for answer in answers)

    with served(num_products) as site:
        began = time.monotonic()
        answered = asyncio.run(ask_all(site))
        code = site.process.wait(60)
    return [f"{answered} of {outstanding}", f"{time.monotonic() - began:.2f}", str(code)]


def _shown(counts: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{count:,} times {status}" for status, count in sorted(counts))
