"""`turngym webshop serve`: the shop as a web site."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from secrets import token_urlsafe

from rich.console import Console
from rich.markup import escape

from turngym.cli.errors import UsageError
from turngym.cli.options import parse
from turngym.webshop_server.settings import ShopSettings
from turngym.webshop_server.shop import KEY_VARIABLE, open_shop
from turngym.webshop_server.site import LOOPBACK, SiteSettings, log_requests, serve, weakness


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ShopSettings):
    """Run the shop as a web site, for people, for agents and for clients of the original WebShop.

    The operator's key is taken from the environment variable TURNGYM_WEBSHOP_KEY, or drawn and printed.
    """

    host: str = "127.0.0.1"
    """The address to listen on; the default is reached from this machine alone."""
    port: int = 3000
    """The port; 0 for any that is free."""
    max_sessions: int = 4096
    """Most sessions at a time; one client has at most a quarter of them, and a quarter is kept for the operator."""
    session_minutes: float = 60.0
    """Minutes after its last use at which a session ends."""
    client_names: bool | None = None
    """Whether clients may name their sessions, as those of the original do; by default on this machine alone."""
    proxy: str = ""
    """The address of a proxy in front of the site that names its clients in X-Forwarded-For, such as 127.0.0.1; without
    this they all count as one client."""
    log: bool = True
    """Write a line of JSON to the standard error for every request; `--no-log` writes none."""


def run(words: Sequence[str], console: Console) -> int:
    """Serve until interrupted."""
    options = parse(ServeOptions, words, command="webshop serve")
    if not 0 <= options.port < 2**16:
        raise UsageError(f"--port takes 0 to 65535, not {options.port}")
    if options.max_sessions < 1 or not 0 < options.session_minutes < math.inf:
        raise UsageError("--max-sessions takes at least 1, --session-minutes a number above 0")
    if not options.host:
        raise UsageError("--host takes an address of this machine, such as 127.0.0.1; 0.0.0.0 is all of them")
    if options.proxy and not _is_address(options.proxy):
        raise UsageError(f"--proxy takes one IP address, such as 127.0.0.1, not {options.proxy!r}")
    local = options.host in LOOPBACK
    settings = SiteSettings(
        max_sessions=options.max_sessions,
        session_minutes=options.session_minutes,
        client_names=local and not options.proxy if options.client_names is None else options.client_names,
        hosts=tuple(LOOPBACK.values()) if local and not options.proxy else None,
        proxy=options.proxy,
    )
    key = os.environ.get(KEY_VARIABLE)
    if key and (options.proxy or not local) and (reason := weakness(key)):
        raise UsageError(f"the key in {KEY_VARIABLE} is too weak for a shop that others reach: {reason}; take "
                         f"{KEY_VARIABLE}={token_urlsafe(16)}, or leave it out to have one drawn")  # fmt: skip
    if key:
        settings = replace(settings, operator_key=key)
    shop = ShopSettings(**{name: getattr(options, name) for name in ShopSettings.__dataclass_fields__})
    try:
        backend = open_shop(shop)
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error
    if options.log:
        log_requests()

    def ready(address: str) -> None:
        password = f"the one in {KEY_VARIABLE}" if key else escape(settings.operator_key)
        console.print(
            f"The shop is open at {address}/ ({backend.mode}, {len(backend.shop.catalogue):,} products, "
            f"{len(backend.goals):,} goals). Ctrl-C closes it.\n"
            f"Operator: {address}/operator/, name operator, password {password}",
            soft_wrap=True,
        )

    try:
        serve(backend, settings, host=options.host, port=options.port, ready=ready)
    except OSError as error:
        raise UsageError(f"{options.host}:{options.port} cannot be listened on: {error.strerror or error}") from error
    console.print("The shop is closed.")
    return 0


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
