"""`turngym view`: the page as a file, and sentences for what cannot be shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cli.tiny_run import TINY

import turngym
from turngym.agents.evaluation import instance_range
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import RandomAgent
from turngym.cli import main
from turngym.envs import register
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers.config import parse_toml, with_overrides, write_toml
from turngym.trainers.evaluation import record_episodes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a second."""
    root = tmp_path_factory.mktemp("viewed")
    config = with_overrides(parse_toml(TINY, source="tiny"), {"run": {"root": str(root), "name": "tiny", "threads": 1}})
    return turngym.train(config).folder


def data_of(page: Path) -> dict[str, Any]:
    """Return what a page holds."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_a_page_holds_the_files_of_every_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["view", str(run), "--out", str(page), "--episodes", "3"]) == 0
    assert capsys.readouterr().out == f"{page} holds the page; open it in a browser.\n"
    data = data_of(page)
    assert [one["name"] for one in data["runs"]] == ["tiny"]
    (files,) = data["episodes"]
    assert list(files) == ["test_trained_sampled", "test_trained_greedy", "train_000002"]
    assert all(len(file["episodes"]) == 3 and file["pictures"] for file in files.values())
    assert files["train_000002"]["objective"] == "astarpo"


def test_pictures_are_left_out_where_nobody_wants_them(run: Path, tmp_path: Path) -> None:
    assert main(["view", str(run), "--out", str(tmp_path / "page.html"), "--no-drawings"]) == 0
    (files,) = data_of(tmp_path / "page.html")["episodes"]
    assert all(not file["pictures"] for file in files.values())
    assert files["train_000002"]["notes"]["picture"] == "Pictures: they were not asked for."


@pytest.mark.parametrize(
    ("env_id", "kwargs", "kinds"),
    [("turngym/CountdownSteps-v0", {}, {"svg"}), ("turngym/WebShop-v0", {"num_products": 50}, {"html"}),
     ("turngym/MultiplicationSteps-v0", {}, {"svg"}), ("mine/Bare-v0", {}, set())],
)  # fmt: skip
def test_each_game_is_shown_in_its_way(
    tmp_path: Path, env_id: str, kwargs: dict[str, Any], kinds: set[str], browser: Any, own_code: Path
) -> None:
    register("mine/Bare-v0", type("BareEnv", (FrozenLakeEnv,), {"drawing": None}), max_turns=3)
    folder = tmp_path / "run"
    folder.mkdir()
    config = with_overrides(parse_toml(TINY, source="tiny"), {"env": {"id": env_id, "kwargs": kwargs}})
    (folder / "config.toml").write_text(write_toml(config))
    episodes = collect_episodes(RandomAgent(), env_id, instance_range("test", 2), env_kwargs=kwargs)
    (folder / "episodes").mkdir()
    record_episodes(folder / "episodes" / "test_trained_sampled.jsonl", episodes)
    assert main(["view", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    shown = data_of(tmp_path / "page.html")["episodes"][0]["test_trained_sampled"]
    assert {picture["kind"] for picture in shown["pictures"]} == kinds
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.goto((tmp_path / "page.html").as_uri())
    turns = page.locator("#episode article.turn")
    turns.first.wait_for()
    assert turns.locator(".picture").count() == (len(episodes[0].turns) + 1 if kinds else 0)
    assert turns.count() == len(episodes[0].turns) + 1
    if kinds == {"html"}:
        last = page.frame_locator("iframe.picture >> nth=-1").locator("main")
        last.wait_for()
        assert last.evaluate("one => getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    if kinds == {"svg"}:
        assert turns.locator("img.picture").evaluate_all("all => all.every(one => one.naturalWidth > 100)")
    if not kinds:
        assert "BareEnv draws none" in page.locator("#notes").inner_text()
        assert episodes[0].turns[0].observation in turns.first.locator("pre").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not faults
    page.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "view needs RUN"),
        (["nowhere"], "holds no run"),
        ([".", "--episodes", "0"], "--episodes takes at least 1"),
        ([".", "--port", "70000"], "--port takes 0 to 65535"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(run), "--out", str(tmp_path / "nowhere" / "page.html"), "--no-drawings"]) == 2
    assert "page.html cannot be written: No such file or directory" in capsys.readouterr().err
