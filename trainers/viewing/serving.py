"""The page on this machine: it asks for the records again while runs go on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from turngym.trainers.viewing.page import page_of

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
"""What this machine is called by its own browsers; asked by another name, the server refuses."""
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"
"""The page loads nothing from elsewhere, whatever an episode says."""

PAGE_HEADER = "X-Turngym-Token"
"""What a request to write must hold: the token that the records come with, which pages from elsewhere cannot read."""
MOST_BYTES = 4096
"""More than any request to write has."""

Records = Callable[[], Sequence[Mapping[str, Any]]]
Ask = Callable[[int, str, str], None]
"""Asks a run, by its place among the records, for another value of a setting, as text."""


def serve(records: Records, port: int, on_ready: Callable[[str], None], ask: Ask | None = None) -> None:
    """Serve until interrupted.

    Args:
        records: Reads the runs, for every request anew.
        port: The port; 0 for any that is free.
        on_ready: Called with the address.
        ask: Called when somebody asks for another value on the page; raises `ValueError` or `LookupError` with the
            reason where that cannot be. None for a page on which nothing can be asked for.

    Raises:
        OSError: The port is taken.
    """
    with ThreadingHTTPServer((HOST, port), partial(_Handler, records, ask, secrets.token_urlsafe())) as server:
        on_ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    server_version = "turngym"
    sys_version = ""

    def __init__(self, records: Records, ask: Ask | None, token: str, *request: Any) -> None:
        self._records, self._ask, self._token = records, ask, token
        super().__init__(*request)  # answers the request

    def do_GET(self) -> None:
        """Answer with the page, or with the records."""
        if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
            self._answer(403, "text/plain", b"This page is for this machine alone.")
        elif self.path == "/":
            self._answer(200, "text/html; charset=utf-8", page_of().encode())
        elif self.path == "/records.json":
            told: dict[str, Any]
            try:
                status, told = 200, {"runs": self._records(), "token": self._token if self._ask else None}
            except ValueError as error:  # a run that has been moved
                status, told = 500, {"error": str(error)}
            self._answer(status, "application/json", json.dumps(told).encode())
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

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store",
                   "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Write nothing."""
