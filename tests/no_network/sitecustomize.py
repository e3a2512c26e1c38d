"""Refuses every connection beyond this machine: in the process of the tests, and in every Python that a test starts.

Python imports a module of this name by itself when it starts, if it finds one. The hook sees all connections that
Python's `socket` makes, whatever library asks for them; a browser is out of its sight.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any

GUARDED = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
"""Events of Python's audit, and which of their arguments is the address."""


class NetworkError(AssertionError):
    """A test went beyond this machine."""


def is_here(host: Any) -> bool:
    """Whether a host, by name or by number, is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        number = ipaddress.ip_address(str(name).partition("%")[0])
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    place = GUARDED.get(event)
    if place is None:
        return
    address = arguments[place]
    if event.startswith("socket.get"):
        host = address
    elif isinstance(address, tuple):
        host = address[0]
    else:
        return  # a socket of the file system
    if not is_here(host):
        raise NetworkError(f"tests must not leave this machine: {event} {address!r}")


sys.addaudithook(_refuse)
