"""Running a site: the server, how it stops, and its log."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable

from waitress.server import create_server

from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.app import LOG, create_app
from turngym.webshop_server.site.state import SiteSettings

LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "localhost", "::1": "[::1]"}
"""Addresses that no other machine reaches, as they stand in a URL."""
THREADS = 4
CONNECTIONS = 1000
MAX_HEADER_BYTES = 32 * 1024
"""The most that the address and the headers of a request take up."""
IDLE_SECONDS = 60
"""Seconds without traffic after which a connection is closed."""


def serve(
    backend: LocalBackend, settings: SiteSettings, *, host: str, port: int, ready: Callable[[str], None] | None = None
) -> None:
    """Serve a site until the process is told to stop by SIGINT or SIGTERM; requests in progress are finished.

    Args:
        backend: The shop.
        settings: How the site is run.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        ready: Called with the site's address when it listens.

    Raises:
        OSError: The address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = create_server(
        create_app(backend, settings),
        sockets=[socket.create_server((host, port), family=family)],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        channel_timeout=IDLE_SECONDS,
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=MAX_HEADER_BYTES * 4,
        clear_untrusted_proxy_headers=True,
        ident=None,
    )
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever a request waits for a thread
    # A shell starts background programs with SIGINT ignored; a handler set here receives it again.
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if ready is not None:
            ready(f"http://{LOOPBACK.get(host, host)}:{server.effective_port}")
        server.run()  # ends with SystemExit, after what is in progress
    finally:
        server.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def log_requests() -> None:
    """Write a line of JSON to the standard error for every request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


def _stop(*_: object) -> None:
    raise SystemExit(0)
