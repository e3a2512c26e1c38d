"""Visitors of the shop's site, as the benchmarks of the site send them: what they ask for, and the site itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

PAGES, AGENTS = "pages", "agents"
KEY = "magpie-tundra-Vexing-41"
"""The operator's key of the sites here."""


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


def looking_around(pages: int) -> Script:
    """Search for one thing after another, look at so many pages of results, and buy nothing."""
    answer = yield Request("GET", "/")
    start = answer.location
    answer = yield Request("GET", start)
    words = unescape(re.findall(r"<h4>Instruction:<br>(.*?)</h4>", answer.body)[0]).split()
    for number in range(pages):
        query = " ".join(words[number % len(words) :] + words[: number % len(words)] + [str(number)])
        answer = yield Request("POST", start, urlencode({"search_query": query}))
        yield Request("GET", answer.location)


SCRIPTS: dict[str, Callable[[], Script]] = {PAGES: with_pages, AGENTS: as_agent}


class Connection:
    """A connection that is kept.

    Args:
        port: Of the site on this machine.
        address: Where it comes from.
        key: The operator's key, if it has that.
    """

    def __init__(self, port: int, address: str = "127.0.0.1", key: str = "") -> None:
        self._port = port
        self._address = address
        credentials = b64encode(f"operator:{key}".encode()).decode()
        self._key = f"Authorization: Basic {credentials}\r\n" if key else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> Answer:
        """Return what is answered.

        Raises:
            OSError: The connection is lost.
            asyncio.IncompleteReadError: It is lost within an answer.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._address, 0))
        reader, writer = self._streams
        kind = "application/json" if request.path.startswith("/api/") else "application/x-www-form-urlencoded"
        body = request.body.encode()
        writer.write(
            f"{request.method} {request.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
            f"{self._key}Content-Length: {len(body)}\r\n\r\n".encode()
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


@contextmanager
def served(num_products: int) -> Iterator[Site]:
    """Run the site in a process of its own."""
    words = ["webshop", "serve", "--port", "0", "--no-log", "--num-products", str(num_products)]
    with subprocess.Popen(
        [sys.executable, "-m", "turngym", *words], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "300", "TURNGYM_WEBSHOP_KEY": KEY},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/ ", process.stdout.readline())
            yield Site(process, int(port))
        finally:
            process.terminate()


def waits_ms(seconds: Iterable[float], shares: Sequence[float]) -> list[float]:
    """Return within how many milliseconds these shares of some requests were answered; 0 without any."""
    ordered = sorted(seconds) or [0.0]
    return [1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in shares]


class Site(NamedTuple):
    """A site that runs."""

    process: subprocess.Popen[str]
    port: int

    @property
    def memory(self) -> float:
        """How much memory it has, in MB."""
        return memory(self.process.pid)


def memory(process: int) -> float:
    """Return how much memory a process has, in MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024
