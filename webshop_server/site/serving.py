"""Running a site: the server, how it stops, and its log."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.app import LOG, create_app
from turngym.webshop_server.site.connections import SiteServer
from turngym.webshop_server.site.state import SiteSettings

LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "localhost", "::1": "[::1]"}
"""Addresses that no other machine reaches, as they stand in a URL."""
THREADS = 4
MAX_HEADER_BYTES = 64 * 1024
"""The most that the address and the headers of a request take up."""


def serve(
    backend: LocalBackend, settings: SiteSettings, *, host: str, port: int, ready: Callable[[str], None] | None = None
) -> None:
    """Serve a site until the process is told to stop by SIGINT or SIGTERM; requests that have arrived are answered.

    A second signal ends it at once.

    Args:
        backend: The shop.
        settings: How the site is run.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        ready: Called with the site's address when it listens.

    Raises:
        OSError: The address cannot be listened on.
    """
    server = make_server(create_app(backend, settings), host=host, port=port, proxy=settings.proxy)

    def stop(*_: object) -> None:
        if server.stopping:
            raise SystemExit(1)
        server.stop()

    # A shell starts background programs with SIGINT ignored; a handler set here receives it again.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if ready is not None:
            ready(f"http://{f'[{host}]' if ':' in host else host}:{server.effective_port}")
        server.run()
    finally:
        server.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def make_server(application: Any, *, host: str, port: int, threads: int = THREADS, proxy: str = "") -> SiteServer:
    """Return a server that listens, for `run`.

    Args:
        application: The site as a WSGI application.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        threads: How many requests are worked on at a time.
        proxy: The address of a proxy whose word about who asks is taken; nobody's if empty.

    Raises:
        OSError: The address cannot be listened on.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever a request waits for a thread
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    every = host == "::" and socket.has_dualstack_ipv6()  # IPv4 as well, which `::` means to most
    return SiteServer(
        application,
        socket.create_server((host, port), family=family, dualstack_ipv6=every),
        threads=threads,
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=2 * MAX_HEADER_BYTES,
        proxy=proxy,
        ident=None,
    )


def log_requests() -> None:
    """Write a line of JSON to the standard error for every request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
