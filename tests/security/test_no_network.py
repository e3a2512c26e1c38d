"""The guard of the tests: nothing leaves this machine, in this process and in those that tests start."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any
from urllib.request import urlopen

import pytest

FAR = "192.0.2.1"
"""Reserved for documentation: nobody answers there."""


def datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", (FAR, 9))


def nonblocking() -> None:
    with socket.socket() as caller:
        caller.setblocking(False)
        caller.connect_ex((FAR, 9))


def over_ipv6() -> None:
    with socket.socket(socket.AF_INET6) as caller:
        caller.connect(("2001:db8::1", 9))


@pytest.mark.parametrize(
    "leave",
    [
        lambda: socket.create_connection((FAR, 9), timeout=1),
        lambda: HTTPConnection(FAR, timeout=1).request("GET", "/"),
        lambda: urlopen("http://example.invalid/", timeout=1),
        lambda: socket.getaddrinfo("example.invalid", 80),
        lambda: socket.gethostbyname("example.invalid"),
        datagram,
        nonblocking,
        over_ipv6,
    ],
)
def test_nothing_leaves_this_machine(leave: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError, match="tests must not leave this machine"):
        leave()


def test_nor_does_a_process_that_a_test_starts() -> None:
    program = f"import socket; socket.create_connection(({FAR!r}, 9), timeout=1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "tests must not leave this machine" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.3.2.1"])
def test_this_machine_is_reached(host: str) -> None:
    with socket.create_server(("127.0.0.1" if host == "localhost" else host, 0)) as server:
        socket.create_connection((host, server.getsockname()[1]), timeout=5).close()
