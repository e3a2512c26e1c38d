"""A shop on a server: the same play as in this process, and clear words where it fails."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - only what this file wrote itself
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from turngym._errors import InputError
from turngym.credentials import without_credentials
from turngym.envs import make_env, text_env
from turngym.envs.webshop import WebShopEnv
from turngym.webshop_server.settings import ShopSettings
from turngym.webshop_server.shop import open_shop
from turngym.webshop_server.shop.connection import KEY_VARIABLE, RemoteShopError
from turngym.webshop_server.shop.remote import RemoteBackend

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
    assert text_env(here).num_instances("test") == text_env(there).num_instances("test")
    for index in range(6):
        assert transcript(here, index) == transcript(there, index)
    there.close()


def test_wishes_are_read_in_this_process_alone(served: tuple[str, dict[str, Any]]) -> None:
    env = gym.make("turngym/WebShop-v0", url=served[0])
    with pytest.raises(ValueError, match="a shop on a server reads no wishes: leave out url="):
        env.reset(options={"instance": "jams; low sugar; 40"})
    with pytest.raises(ValueError, match="a shop on a server reads no wishes"):
        env.reset(options={"split": "train", "index": 2**62})
    env.close()


def test_the_key_can_stand_in_the_address(served: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    host = served[0].removeprefix("http://")
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(RemoteShopError, match="needs the operator's key, which it printed"):
        RemoteBackend(f"http://{host}")
    with pytest.raises(RemoteShopError, match="does not take this operator's key but the one which") as refusal:
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


def test_a_session_that_the_server_has_forgotten_is_left_behind(served: tuple[str, dict[str, Any]]) -> None:
    env = gym.make(ID, url=served[0])
    env.reset(seed=0)
    inside: Any = env.unwrapped
    forgotten = inside.session
    inside.backend._server.ask("DELETE", forgotten._path)
    observation, _ = env.reset(seed=0)
    assert inside.session is not forgotten and inside.goal.instruction in observation
    env.close()


def test_an_episode_goes_on_where_the_server_has_forgotten_its_session(served: tuple[str, dict[str, Any]]) -> None:
    env = gym.make(ID, url=served[0])
    env.reset(seed=0, options={"split": "test", "index": 1})
    inside: Any = env.unwrapped
    told = [env.step(inside.oracle_action()) for _ in range(2)]
    before = env.step("click[description]"), env.step("click[< prev]")
    inside.backend._server.ask("DELETE", inside.session._path)
    assert (env.step("click[description]")[0], env.step("click[< prev]")[0]) == (before[0][0], before[1][0])
    assert inside.session.page.asin and len(inside.session._done) == len(told) + 4
    env.close()


def test_an_episode_does_not_go_on_in_another_shop(served: tuple[str, dict[str, Any]]) -> None:
    env = gym.make(ID, url=served[0])
    env.reset(seed=0)
    inside: Any = env.unwrapped
    inside.backend.setup = inside.session._setup = "that of the server which was there before"
    for go_on in (lambda: env.step("search[shirt]"), lambda: env.reset(seed=0)):
        with pytest.raises(RemoteShopError, match="is another one than before; make the environment anew"):
            go_on()
    env.close()


def test_an_environment_is_closed_when_the_server_is_gone() -> None:
    server, address = start("--num-products", "100")
    env = gym.make(ID, url=address)
    env.reset(seed=0)
    stop(server)
    with pytest.raises(RemoteShopError, match="does not answer"):
        env.reset(seed=0)
    env.close()


def test_a_connection_that_was_closed_is_opened_again(served: tuple[str, dict[str, Any]]) -> None:
    shop = RemoteBackend(served[0])
    session = shop.open_session(0)
    shop._server._connection.sock.shutdown(socket.SHUT_RDWR)
    assert session.act("search[red]") == "" and session.page.keywords == ("red",)


def test_a_copy_has_a_session_of_its_own_where_the_first_one_stands(served: tuple[str, dict[str, Any]]) -> None:
    env = gym.make(ID, url=served[0])
    env.reset(seed=0, options={"split": "test", "index": 1})
    inside: Any = env.unwrapped
    env.step(inside.oracle_action())
    copies: list[Any] = [deepcopy(env), pickle.loads(pickle.dumps(env))]  # noqa: S301
    told = [one.step("click[back to search]") for one in (env, *copies)]
    assert told[0] == told[1] == told[2] and told[0][4]["valid"]
    reply = inside.oracle_action()
    assert [copy.step(reply)[0] for copy in copies] == [env.step(reply)[0]] * 2
    copies[0].close()
    assert inside.session._path != copies[1].unwrapped.session._path
    assert env.step("click[back to search]")[4]["valid"]
    env.close()
    copies[1].close()


def test_a_copy_that_never_played_leaves_the_session_alone(served: tuple[str, dict[str, Any]]) -> None:
    env = gym.make(ID, url=served[0])
    env.reset(seed=0)
    deepcopy(env).close()
    assert env.step("search[red]")[4]["valid"]


def test_a_pickle_holds_no_key(served: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    quoted = "a%20key%2Fwith%3A%20signs"
    env = make_env(ID, {"url": served[0].replace("http://", f"http://operator:{quoted}@")})
    env.reset(seed=0)
    kept = pickle.dumps(env)
    assert not any(secret.encode() in kept for secret in (KEY, quoted, b64encode(f"operator:{KEY}".encode()).decode()))
    again = pickle.loads(kept)  # noqa: S301
    assert again.step("search[red]")[0] == env.step("search[red]")[0]


def test_a_restarted_server_is_the_same_shop() -> None:
    """Address and key are others; what decides play is not. Another shop is another one."""
    shops = []
    for arguments in (["--num-products", "50"], ["--num-products", "50"], ["--num-products", "51"]):
        server, address = start(*arguments)
        shops.append(WebShopEnv.defining_arguments({"url": address, "history": 2}))
        stop(server)
    assert shops[0] == shops[1] != shops[2] and shops[0]["history"] == 2 and "url" not in shops[0]
    assert shops[0]["shop"] == open_shop(ShopSettings(num_products=50)).setup


def test_the_key_of_a_new_start_is_found(served: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The process still keeps the key that came with the address before; the variable has the present one."""
    without_credentials(served[0].replace("http://", "http://operator:of-an-earlier-start@"))
    assert RemoteBackend(served[0]).mode == served[1]["mode"]


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:3000",
        "ftp://host",
        "http://",
        "http://host?x=1",
        "shop",
        "http://h:port",
        "http://[::1",
        "http://h:99999",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="is no address of a server"):
        RemoteBackend(url)


@pytest.mark.parametrize("url", ["operator:s3cret@h:80", "http:/operator:s3cret@h", "http://h/?k=s3cret"])
def test_no_key_stands_in_the_refusal_of_what_is_no_address(url: str) -> None:
    with pytest.raises(InputError, match="is no address of a server") as refusal:
        RemoteBackend(url)
    assert "h" in str(refusal.value) and "s3cret" not in str(refusal.value)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(RemoteShopError, match=r"127.0.0.1:1 does not answer.*`turngym webshop serve`"):
        RemoteBackend("http://operator:secret@127.0.0.1:1")


def test_plain_http_is_named_where_https_is_asked(served: tuple[str, dict[str, Any]]) -> None:
    with pytest.raises(RemoteShopError, match=r"cannot be asked by HTTPS: .*so write http://"):
        RemoteBackend(served[0].replace("http://", "https://"))


def test_the_shop_is_the_servers() -> None:
    with pytest.raises(ValueError, match="give the arguments about it to the server"):
        gym.make(ID, url="http://127.0.0.1:3000", mode="faithful")


def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and answers none; each request would wait for it anew."""
    monkeypatch.setattr("turngym.webshop_server.shop.connection.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for _ in range(3):
            with pytest.raises(RemoteShopError, match="does not answer: timed out"):
                RemoteBackend(address)
        monkeypatch.setattr("turngym.webshop_server.shop.connection.TIMEOUT", 60.0)
        with pytest.raises(RemoteShopError, match="left 3 requests in a row without answer and is asked no more"):
            RemoteBackend(address)


ABOUT: dict[str, Any] = {
    "mode": "fixed",
    "setup": "s",
    "goals": {"test": [0, 1], "validation": [1, 2], "train": [2, 3]},
}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, "<html>"),
        (200, "null"),
        (200, "7"),
        (200, "[" * 100_000),
        (200, json.dumps({**ABOUT, "mode": "another"})),
        (200, json.dumps({**ABOUT, "goals": {}})),
        (200, json.dumps({**ABOUT, "goals": {**ABOUT["goals"], "test": [0, 0]}})),
        (200, json.dumps(ABOUT)),  # which is no goal
        (400, "[]"),
        (500, "<h1>"),
    ],
)
def test_what_is_no_shop_is_told(status: int, answer: str) -> None:
    class Nonsense(BaseHTTPRequestHandler):
        def _say(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        do_GET = do_POST = _say

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Nonsense) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(RemoteShopError, match=r"is no shop of this version of turngym|refuses GET /api/shop: 400"):
            RemoteBackend(f"http://127.0.0.1:{server.server_port}").open_session(0)
        server.shutdown()
        thread.join()
