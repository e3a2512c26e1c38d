"""The page on this machine: it asks for the records again while runs go on."""

from __future__ import annotations

import json
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

Records = Callable[[], Sequence[Mapping[str, Any]]]


def serve(records: Records, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        records: Reads the runs, for every request anew.
        port: The port; 0 for any that is free.
        on_ready: Called with the address.

    Raises:
        OSError: The port is taken.
    """
    with ThreadingHTTPServer((HOST, port), partial(_Handler, records)) as server:
        on_ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    server_version = "turngym"
    sys_version = ""

    def __init__(self, records: Records, *request: Any) -> None:
        self._records = records
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
                status, told = 200, {"runs": self._records()}
            except ValueError as error:  # a run that has been moved
                status, told = 500, {"error": str(error)}
            self._answer(status, "application/json", json.dumps(told).encode())
        else:
            self._answer(404, "text/plain", b"There is no such page.")

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
