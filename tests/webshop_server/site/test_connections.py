"""The server: slow clients stand in nobody's way, its own answers are like the site's, and its end loses no request."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from turngym.webshop_server.site import connections
from turngym.webshop_server.site.connections import SiteServer
from turngym.webshop_server.site.headers import HEADERS, NO_STORE
from turngym.webshop_server.site.serving import MAX_HEADER_BYTES, make_server

REQUEST = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
Connect = Callable[..., socket.socket]
gate = threading.Event()


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer at once, after a while, with much, or when the gate opens, as the path says."""
    match environ["PATH_INFO"]:
        case "/slow":
            time.sleep(0.05)
        case "/gate":
            gate.wait(10)
        case "/stuck":
            raise RuntimeError("a mistake")
    body = b"x" * 8_000_000 if environ["PATH_INFO"] == "/much" else f"{environ['REMOTE_ADDR']} done".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def proxy() -> str:
    return ""


@pytest.fixture
def server(proxy: str) -> Iterator[SiteServer]:
    gate.clear()
    server = make_server(application, host="127.0.0.1", port=0, proxy=proxy)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    gate.set()
    server.stop()
    thread.join(10)
    server.close()
    assert not thread.is_alive()


@pytest.fixture
def connect(server: SiteServer) -> Iterator[Connect]:
    with ExitStack() as opened:

        def connect(sent: bytes = b"", address: str = "127.0.0.1") -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", int(server.effective_port)), 10, (address, 0))
            opened.enter_context(connection)
            connection.sendall(sent)
            return connection

        yield connect


def answer(connection: socket.socket) -> bytes:
    """Return what comes until the connection is closed, or the first answer of the application."""
    told = b""
    with suppress(ConnectionError):
        while not told.endswith(b" done") and (chunk := connection.recv(65536)):
            told += chunk
    return told


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        while connection.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def wait_for(happened: Callable[[], bool], seconds: float = 8) -> bool:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.02)
    return happened()


# Slow clients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"GET / HT", REQUEST[:-2], b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\nx"])
def test_slow_clients_keep_nobody_out(
    sent: bytes, server: SiteServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS_PER_CLIENT", 20)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 30)
    monkeypatch.setattr(connections, "_ACCEPTED_AT_ONCE", 8)
    kept, other = connect(REQUEST), connect(REQUEST, "127.0.0.2")
    assert b"200 OK" in answer(kept) and b"200 OK" in answer(other)
    slow = [connect(sent) for _ in range(100)]
    assert wait_for(lambda: sum(map(is_closed, slow)) >= 80)
    assert len(server.active_channels) <= 21
    assert b"200 OK" in answer(connect(REQUEST)), "the same client is answered"
    others = [connect(sent, f"127.0.0.{3 + number}") for number in range(20)]
    assert wait_for(lambda: len(server.active_channels) <= 30)
    assert sum(map(is_closed, others)) == 0, "room is made where one client has most"
    for old in (kept, other):
        old.settimeout(10)
        old.sendall(REQUEST)
        assert b"200 OK" in answer(old), "connections that were of use stay"


@pytest.mark.parametrize(
    ("state", "sent"), [("receiving", b"GET / HT"), ("sending", REQUEST.replace(b"quick", b"much")), ("idle", REQUEST)]
)
def test_no_client_takes_as_long_as_it_likes(
    state: str, sent: bytes, server: SiteServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.LIMITS, state, 0.5)
    slow = connect(sent)
    began = time.monotonic()
    while server.active_channels or time.monotonic() - began < 0.5:
        assert time.monotonic() - began < 8
        with suppress(OSError):
            if state == "receiving":
                slow.sendall(b"x")  # which is activity
            elif state == "sending":
                slow.recv(10)
        time.sleep(0.1)


def test_who_waits_for_the_site_is_not_late(
    server: SiteServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state in connections.LIMITS:
        monkeypatch.setitem(connections.LIMITS, state, 0.6)
    waiting = [connect(REQUEST.replace(b"quick", b"gate")) for _ in range(9)]
    time.sleep(2.5)
    gate.set()
    assert all(b"200 OK" in answer(one) for one in waiting)


def test_where_all_are_at_work_one_more_is_asked_to_wait(
    server: SiteServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS_PER_CLIENT", 5)
    working = [connect(REQUEST.replace(b"quick", b"gate")) for _ in range(5)]
    assert wait_for(lambda: [one.state for one in server.active_channels.values()] == ["working"] * 5)
    refused = answer(connect(REQUEST))
    assert refused.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 5\r\n" in refused and b"try again" in refused
    assert all(f"{name}: {value}\r\n".encode() in refused for name, value in HEADERS.items())
    gate.set()
    assert all(b"200 OK" in answer(one) for one in working)


@pytest.mark.parametrize(
    ("proxy", "client", "closed"),
    [("127.0.0.1", b"192.0.2.9", 0), ("127.0.0.2", b"127.0.0.1", 15), ("", b"127.0.0.1", 15)],
)
def test_a_proxy_that_is_named_says_who_asks_and_is_no_client(
    client: bytes, closed: int, connect: Connect, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS_PER_CLIENT", 5)
    request = REQUEST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.9\r\n\r\n")
    asking = []
    for _ in range(20):
        asking.append(connect(request))
        assert answer(asking[-1]).endswith(b"\r\n" + client + b" done")
    assert wait_for(lambda: sum(map(is_closed, asking)) == closed)


# Answers of the server itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", b"413"),
        (b"GET /stuck HTTP/1.1\r\n\r\n", b"500"),
        (b"GET http://[::1/ HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_answers_of_the_server_itself_have_the_headers(sent: bytes, status: bytes, connect: Connect) -> None:
    told = answer(connect(sent))
    assert told.startswith(b"HTTP/1.") and told.split()[1] == status and b"Traceback" not in told
    lines = {line.lower() for line in told.split(b"\r\n\r\n")[0].decode().split("\r\n")}
    assert {f"{name}: {value}".lower() for name, value in {**HEADERS, **NO_STORE}.items()} <= lines


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
def test_all_addresses_are_those_of_both_kinds() -> None:
    with closing(make_server(application, host="::", port=0)) as server:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, int(server.effective_port)), 10).close()


def test_a_request_without_a_body_is_not_waited_for(connect: Connect) -> None:
    asked = REQUEST.replace(b"Host", b"Expect: 100-continue\r\nHost")
    assert answer(connect(asked)).startswith(b"HTTP/1.1 200")
    asked = asked.replace(b"GET", b"POST").replace(b"Host", b"Content-Length: 1\r\nHost")
    waiting = connect(asked)
    assert waiting.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    waiting.sendall(b"x")
    assert answer(waiting).startswith(b"HTTP/1.1 200")


# The end ------------------------------------------------------------------------------------------------------------


def test_requests_that_had_arrived_are_answered(server: SiteServer, connect: Connect) -> None:
    idle, begun = connect(REQUEST), connect(b"GET / HT")
    assert b"200 OK" in answer(idle)
    asking = [connect(REQUEST.replace(b"quick", b"slow")) for _ in range(50)]
    server.stop()
    told = [answer(one) for one in asking]
    assert all(b"200 OK" in one and one.endswith(b"done") and b"Connection: close" in one for one in told)
    with pytest.raises(OSError, match=r"refused|reset"):
        connect(REQUEST).recv(1)
    assert wait_for(lambda: not server.active_channels, 5), "one that goes on with half a request is not waited for"
    assert is_closed(idle) and is_closed(begun)


def test_the_end_does_not_wait_for_ever(server: SiteServer, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STOP_SECONDS", 1.0)
    connect(REQUEST.replace(b"quick", b"much"))
    time.sleep(0.2)
    began = time.monotonic()
    server.stop()
    assert wait_for(lambda: server.socket.fileno() == -1)
    assert time.monotonic() - began < 5
