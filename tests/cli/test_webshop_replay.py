"""`turngym webshop replay`: an episode is seen on the operator's page as it was played, or it is said why not."""

from __future__ import annotations

import http.client
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_webshop_serve import opening, serve

from turngym.agents.episode import Episode, write_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import OracleAgent, ScriptedAgent, ShopperAgent
from turngym.cli import main
from turngym.webshop_server.shop import KEY_VARIABLE

KEY = "secret"


@pytest.fixture(scope="module", params=["fixed", "faithful"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The address of a site of 50 products, and its mode."""
    server = serve("--mode", request.param, "--no-log", key=KEY)
    port, _ = opening(server, mode=request.param)
    yield f"http://127.0.0.1:{port}", request.param
    server.terminate()
    server.communicate(timeout=20)


def recorded(path: Path, env_id: str, agent: ScriptedAgent, **kwargs: Any) -> list[Episode]:
    """Write two episodes, and return them."""
    episodes = collect_episodes(agent, env_id, instance_range("test", 2), env_kwargs=kwargs)
    write_episodes(path, episodes)
    return episodes


def seen(address: str) -> str:
    """Return a page of the operator."""
    host, _, path = address.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    password = b64encode(f"operator:{KEY}".encode()).decode()
    connection.request("GET", f"/{path}", headers={"Authorization": f"Basic {password}"})
    page = connection.getresponse().read().decode()
    connection.close()
    return page


@pytest.mark.parametrize("observation_mode", ["compact", "text"])
def test_an_episode_is_seen_step_by_step(
    served: tuple[str, str], tmp_path: Path, observation_mode: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    address, mode = served
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    kwargs = {"num_products": 50, "mode": mode, "observation_mode": observation_mode, "reasoning": True}
    episodes = recorded(tmp_path / "e.jsonl", "turngym/WebShop-v0", ShopperAgent(), **kwargs)
    assert main(["webshop", "replay", str(tmp_path / "e.jsonl"), "--url", address]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    for line, episode in zip(printed, episodes, strict=True):
        last = len(episode.turns)
        page = seen(f"{line.split()[0]}?step={last}")
        assert f"Step {last} of {last}" in page
        assert ">search[" in page and "click[buy now]" in page.lower()
        total = re.search(r"<dt>Total</dt><dd>([\d.]+)</dd>", page)
        assert total is not None and float(total[1]) == pytest.approx(episode.measures["task_score"], abs=5e-4)


def test_the_protocol_of_others_is_replayed(
    served: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, mode = served
    recorded(tmp_path / "e.jsonl", "turngym/WebShopGiGPO-v0", OracleAgent(), num_products=50)
    exit_code = main(["webshop", "replay", str(tmp_path / "e.jsonl"), "--url",
                      address.replace("//", f"//operator:{KEY}@"), "--limit", "1"])  # fmt: skip
    out = capsys.readouterr()
    assert KEY not in out.out + out.err
    assert exit_code == (0 if mode == "faithful" else 2)
    assert len(out.out.splitlines()) == (mode == "faithful")


def test_it_says_why_an_episode_cannot_be_replayed(
    served: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    recorded(tmp_path / "other.jsonl", "turngym/WebShop-v0", OracleAgent(), num_products=60, shop_seed=1)
    recorded(tmp_path / "lake.jsonl", "turngym/FrozenLake-v0", OracleAgent())
    (tmp_path / "empty.jsonl").touch()
    for name, reason in {"other": "another shop", "lake": "which is no shop", "empty": "no episode",
                         "absent": "cannot be read"}.items():  # fmt: skip
        assert main(["webshop", "replay", str(tmp_path / f"{name}.jsonl"), "--url", served[0]]) == 2
        assert reason in " ".join(capsys.readouterr().err.split())
    assert main(["webshop", "replay", str(tmp_path / "lake.jsonl"), "--limit", "0"]) == 2
