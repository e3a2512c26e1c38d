"""A shop on a server: the same play as in this process, and clear words where it fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from turngym.webshop_server.shop.remote import KEY_VARIABLE, RemoteBackend, RemoteShopError

ID = "turngym/WebShop-v0"
KEY = "a key/with: signs"


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server; return it with its address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "turngym", "webshop", "serve", "--port", "0", "--no-log", *arguments],
        env={**os.environ, KEY_VARIABLE: KEY, "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    return server, server.stdout.readline().split(" at ")[1].split("/ ")[0]


def stop(server: subprocess.Popen[str]) -> None:
    server.terminate()
    assert server.wait(20) == 0
    if server.stdout is not None:
        server.stdout.close()


@pytest.fixture(scope="module", params=["fixed", "faithful"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    """An address with the key, and how to open the same shop here."""
    settings = {"mode": request.param, "num_products": 200, "goals": "synthetic"}
    server, address = start("--mode", request.param, "--num-products", "200")
    yield address, settings
    stop(server)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def transcript(env: gym.Env[str, str], index: int) -> list[Any]:
    """Play an episode as the oracle or by chance; return all that was seen."""
    rng = np.random.default_rng(index)
    inside: Any = env.unwrapped
    observation, info = env.reset(seed=index, options={"split": "test", "index": index})
    seen: list[Any] = [(observation, info)]
    ended = False
    while not ended:
        action = inside.oracle_action() if index % 2 else inside.sample_action(rng)
        action = rng.choice([action, "click[nothing]", " "], p=[0.85, 0.1, 0.05])
        observation, reward, terminated, truncated, info = env.step(str(action))
        seen.append((action, observation, reward, terminated, truncated, info))
        ended = terminated or truncated
    return [*seen, inside.optimal_success()]


@pytest.mark.parametrize("shown", [{}, {"observation_mode": "html"}, {"observation_mode": "url"},
                                   {"observation_mode": "text_rich", "show_actions": True, "history": 2}])  # fmt: skip
def test_play_is_the_same(served: tuple[str, dict[str, Any]], shown: dict[str, Any]) -> None:
    address, settings = served
    here, there = gym.make(ID, **settings, **shown), gym.make(ID, url=address, **shown)
    for index in range(6):
        assert transcript(here, index) == transcript(there, index)
    there.close()


def test_the_key_can_stand_in_the_address(served: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    host = served[0].removeprefix("http://")
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(RemoteShopError, match="needs the operator's key") as refusal:
        RemoteBackend(f"http://operator:wrong@{host}")
    assert "wrong" not in str(refusal.value)
    assert RemoteBackend(f"http://operator:a%20key%2Fwith%3A%20signs@{host}/").mode == served[1]["mode"]


def test_a_session_ends_with_its_environment(served: tuple[str, dict[str, Any]]) -> None:
    env = gym.make(ID, url=served[0])
    env.reset(seed=0)
    inside: Any = env.unwrapped
    session = inside.session
    env.close()
    with pytest.raises(RemoteShopError, match="There is no such session"):
        session.act("click[search]")


def test_a_connection_that_was_closed_is_opened_again(served: tuple[str, dict[str, Any]]) -> None:
    shop = RemoteBackend(served[0])
    session = shop.open_session(0)
    shop._server._connection.sock.shutdown(socket.SHUT_RDWR)
    assert session.act("search[red]") == "" and session.page.keywords == ("red",)


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://host", "http://", "http://host?x=1", "shop"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no address of a server"):
        gym.make(ID, url=url)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(RemoteShopError, match=r"127.0.0.1:1 does not answer.*`turngym webshop serve`"):
        RemoteBackend("http://operator:secret@127.0.0.1:1")


def test_the_shop_is_the_servers() -> None:
    with pytest.raises(ValueError, match="give the arguments about it to the server"):
        gym.make(ID, url="http://127.0.0.1:3000", mode="faithful")
