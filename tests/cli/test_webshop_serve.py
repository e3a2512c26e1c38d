"""`turngym webshop serve`: it says where the shop is, logs requests, stops cleanly, and refuses what cannot be."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from turngym.cli import main
from turngym.webshop_server.shop import KEY_VARIABLE


def serve(*arguments: str, key: str | None = "secret") -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE} | {"COLUMNS": "300"}
    if key is not None:
        environment[KEY_VARIABLE] = key
    return subprocess.Popen(
        [sys.executable, "-m", "turngym", "webshop", "serve", "--port", "0", "--num-products", "50", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def opening(server: subprocess.Popen[str], mode: str = "fixed") -> tuple[int, str]:
    """Return the port and the operator's password as they are told when the shop opens."""
    assert server.stdout is not None
    first, second = server.stdout.readline(), server.stdout.readline()
    told = re.fullmatch(
        r"The shop is open at http://[0-9.]+:(\d+)/ \(" + mode + r", 50 products, .* Ctrl-C closes it\.\n", first
    )
    assert told is not None, first
    return int(told[1]), second.split("password ")[1].strip()


def ask(port: int, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_stopped(number: signal.Signals) -> None:
    server = serve()
    port, password = opening(server)
    assert ask(port, "/health") == 200
    assert ask(port, "/fixed_0") == 200
    assert ask(port, "/health", Host="shop.example") == 400  # another site that points its name here
    server.send_signal(number)
    out, log = server.communicate(timeout=20)
    assert server.returncode == 0
    assert password == "the one in TURNGYM_WEBSHOP_KEY" and "secret" not in log
    assert out == "The shop is closed.\n"
    lines = [json.loads(line) for line in log.splitlines()]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("GET", "/health", 200), ("GET", "/<name>", 200), ("GET", "/health", 400),
    ]  # fmt: skip
    assert all(line["ms"] >= 0 for line in lines) and lines[1]["session"] not in {"fixed_0", None}


def test_what_was_asked_before_the_signal_is_answered() -> None:
    server = serve("--no-log")
    port, _ = opening(server)
    request = b"POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    with ExitStack() as opened:
        clients = [opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(50)]
        for client in clients:
            client.sendall(request)
        server.terminate()
        assert all(client.recv(100).startswith(b"HTTP/1.1 201") for client in clients)
    assert server.communicate(timeout=20) and server.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/health")


def test_draws_a_key_where_none_is_given() -> None:
    first, second = serve("--no-log", key=None), serve("--no-log", key=None)
    keys = set()
    for server in (first, second):
        keys.add(opening(server)[1])
        server.terminate()
        assert server.communicate(timeout=20) and server.returncode == 0
    assert len(keys) == 2 and all(len(key) >= 22 for key in keys)


def test_a_weak_key_is_refused_where_others_reach_the_shop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a")
    assert main(["webshop", "serve", "--host", "0.0.0.0"]) == 2
    said = capsys.readouterr().err
    assert "it has 1 characters and needs 16" in said and re.search(rf"{KEY_VARIABLE}=[A-Za-z0-9_-]{{22}},", said)


def test_clients_of_other_machines_cannot_name_their_visits() -> None:
    server = serve("--no-log", "--host", "0.0.0.0", key="magpie-tundra-Vexing-41")
    port, _ = opening(server)
    assert ask(port, "/fixed_0") == 404
    assert ask(port, "/health", Host="shop.example") == 200
    server.terminate()
    assert server.communicate(timeout=20) and server.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "65536"], "--port takes 0 to 65535"),
        (["--max-sessions", "0"], "--max-sessions takes at least 1"),
        (["--session-minutes", "nan"], "--session-minutes a number above 0"),
        (["--session-minutes", "inf"], "--session-minutes a number above 0"),
        (["--host", ""], "--host takes an address of this machine"),
        (["--proxy", "127.0.0.1, 10.0.0.1"], "--proxy takes one IP address"),
        (["--proxy", "nonsense"], "--proxy takes one IP address"),
        (["--catalogue", "/nowhere.json"], "/nowhere.json"),
        (["--num-products", "5"], "num_products must be 10"),
        (["--host", "192.0.2.1", "--num-products", "50"], "192.0.2.1:3000 cannot be listened on"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webshop", "serve", *words]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
