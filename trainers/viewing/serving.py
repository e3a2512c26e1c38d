"""The page here: it asks for the records again while runs go on, and for episodes once they are looked at."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from turngym.trainers.viewing.page import page_of, policy

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
"""What this machine is called by its own browsers; asked by another name, the server refuses."""

PAGE_HEADER = "X-Turngym-Token"
"""What a request to write must hold: the token that the records come with, which pages from elsewhere cannot read."""
MOST_BYTES = 4096
"""More than any request to write has."""

Records = Callable[[], Sequence[Mapping[str, Any]]]
"""Reads the runs."""
FileOf = Callable[[int, str], Mapping[str, Any]]
"""Reads a file of episodes, by the place of its run among them and its name."""
Ask = Callable[[int, str, str], None]
"""Asks a run, by its place among the records, for another value of a setting, as text."""


def serve(
    records: Records, file_of: FileOf, port: int, on_ready: Callable[[str], None], ask: Ask | None = None
) -> None:
    """Serve until interrupted.

    Args:
        records: Called for every request anew.
        file_of: Called when somebody looks at the episodes of a file, by one request at a time, since games need not
            play in two threads; raises `ValueError` where there are none, or `IndexError` where there is no such run.
        port: The port; 0 for any that is free.
        on_ready: Called with the address.
        ask: Called when somebody asks for another value on the page; raises `ValueError` or `LookupError` with the
            reason where that cannot be. None for a page on which nothing can be asked for.

    Raises:
        OSError: The port is taken.
    """
    turn = Lock()

    def one_at_a_time(run: int, stem: str) -> Mapping[str, Any]:
        with turn:
            return file_of(run, stem)

    with ThreadingHTTPServer(
        (HOST, port), partial(_Handler, records, one_at_a_time, ask, secrets.token_urlsafe())
    ) as server:
        on_ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    server_version = "turngym"
    sys_version = ""

    def __init__(self, records: Records, file_of: FileOf, ask: Ask | None, token: str, *request: Any) -> None:
        self._records, self._file_of, self._ask, self._token = records, file_of, ask, token
        super().__init__(*request)  # answers the request

    def do_GET(self) -> None:
        """Answer with the page, with the records, or with the episodes of a file."""
        asked = urlsplit(self.path)
        if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
            self._answer(403, "text/plain", b"This page is for this machine alone.")
        elif asked.path == "/":
            self._answer(200, "text/html; charset=utf-8", page_of().encode())
        elif asked.path == "/records.json":
            self._tell(lambda: {"runs": self._records(), "token": self._token if self._ask else None})
        elif asked.path == "/episodes.json":
            query = parse_qs(asked.query)
            self._tell(lambda: self._file_of(int(query["run"][0]), query["file"][0]))
        else:
            self._answer(404, "text/plain", b"There is no such page.")

    def do_POST(self) -> None:
        """Ask a run for another value: JSON with `run`, `setting` and `value`, from the page itself."""
        given = self.headers.get(PAGE_HEADER, "").encode()
        if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
            self._answer(403, "text/plain", b"This page is for this machine alone.")
        elif self._ask is None or self.path != "/live.json":
            self._answer(404, "text/plain", b"There is nothing to write here.")
        elif not secrets.compare_digest(given, self._token.encode()):
            self._answer(403, "text/plain", b"Only the page itself may write: load it again.")
        else:
            try:
                length = int(self.headers["Content-Length"])
                asked = json.loads(self.rfile.read(length) if 0 <= length <= MOST_BYTES else b"")
                self._ask(int(asked["run"]), str(asked["setting"]), str(asked["value"]))
                status, told = 200, {}
            except (ValueError, TypeError, LookupError, OSError) as error:
                status, told = 400, {"error": str(error)}
            self._answer(status, "application/json", json.dumps(told).encode())

    def _tell(self, told: Callable[[], Mapping[str, Any]]) -> None:
        """Answer with JSON; with the code 304 alone where whoever asks has it already."""
        try:
            status, body = 200, json.dumps(told()).encode()
        except (ValueError, LookupError) as error:  # a run that has been moved, or a question without an answer
            status, body = 404, json.dumps({"error": str(error)}).encode()
        tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        if status == 200 and self.headers.get("If-None-Match") == tag:
            self._answer(304, "application/json", b"", ETag=tag)
        else:
            self._answer(status, "application/json", body, ETag=tag)

    def _answer(self, status: int, kind: str, body: bytes, **more: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store",
                   "Content-Security-Policy": policy(), "X-Content-Type-Options": "nosniff", **more}  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # whoever asked has left
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Write nothing."""
