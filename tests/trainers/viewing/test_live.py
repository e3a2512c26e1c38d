"""Live tuning on the page: marks on the curves, and a form that writes `live.toml`, for the page itself alone."""

from __future__ import annotations

import json
import threading
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from turngym.trainers.config import TrainConfig, with_overrides
from turngym.trainers.launch.run_folder import save_config
from turngym.trainers.live.files import ask_for, write_echo
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import LIVE_FILE, METRICS_FILE, RESULT_FILE
from turngym.trainers.viewing import run_record, serve
from turngym.trainers.viewing.serving import PAGE_HEADER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that learns, and was tuned after its second step."""
    config = with_overrides(TrainConfig(), {"run": {"name": "going"}})
    save_config(tmp_path, config)
    metrics = Metrics(tmp_path / METRICS_FILE)
    for step in (1, 2, 3):
        metrics.add("learning", {"step": step, "success": step / 4})
    metrics.add("live", {"step": 2, "rollbacks": 0, "changed": ["objective.beta 0.05 to 0.005 -> 0.1"]})
    write_echo(tmp_path, config, {}, step=2, answer="watching")
    return tmp_path


@pytest.fixture
def address(folder: Path) -> str:
    """The address of its page."""
    ready: list[str] = []
    begun = threading.Event()

    def told(url: str) -> None:
        ready.append(url)
        begun.set()

    def ask(run: int, setting: str, value: str) -> None:
        ask_for([folder][run], setting, value)

    def no_file(run: int, stem: str) -> dict[str, Any]:
        raise LookupError(f"run {run} has no file {stem}")

    arguments = (lambda: [run_record(folder)], no_file, 0, told, ask)
    threading.Thread(target=serve, args=arguments, daemon=True).start()
    assert begun.wait(60)
    return ready[0]


def post(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{url}live.json", data=body, headers=headers, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
            return error.code, json.loads(text) if error.headers["Content-Type"] == "application/json" else {"": text}


def test_a_record_has_marks_and_the_answer_of_a_run_that_goes_on(folder: Path) -> None:
    record = run_record(folder)
    assert record["marks"] == [{"step": 2, "kind": "live", "text": "live: objective.beta 0.05 to 0.005 -> 0.1"}]
    assert record["live"]["answer"] == "watching" and record["live"]["settings"]["objective.beta"] == "auto"
    (folder / RESULT_FILE).write_text("{}")
    assert run_record(folder)["live"] is None


def test_the_page_alone_may_write(folder: Path, address: str) -> None:
    with urllib.request.urlopen(f"{address}records.json", timeout=30) as answer:  # noqa: S310
        token = json.loads(answer.read())["token"]
    body = json.dumps({"run": 0, "setting": "objective.beta", "value": "0.1"}).encode()
    assert post(address, body)[0] == post(address, body, **{PAGE_HEADER: "x"})[0] == 403
    assert post(address, body, **{PAGE_HEADER: token, "Host": "elsewhere.example:80"})[0] == 403
    assert not (folder / LIVE_FILE).exists()
    assert post(address, body, **{PAGE_HEADER: token}) == (200, {})
    assert tomllib.loads((folder / LIVE_FILE).read_text()) == {"objective": {"beta": 0.1}}
    for wrong in (
        b"{",
        b"[]",
        b"{}",
        b"x" * 5000,
        body.replace(b"0,", b"7,"),
        body.replace(b"objective.beta", b"env.id"),
    ):
        status, told = post(address, wrong, **{PAGE_HEADER: token})
        assert status == 400 and told["error"]
    assert tomllib.loads((folder / LIVE_FILE).read_text()) == {"objective": {"beta": 0.1}}


def test_a_value_is_asked_for_in_a_browser(folder: Path, address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(address)
    page.locator("#ask").wait_for()
    assert page.locator("#setting").input_value() == "objective.beta" and page.locator("#chart .mark").count() == 1
    page.locator("#value").fill("0.2")
    page.locator("#ask button").click()
    page.get_by_text("Asked for.").wait_for()
    assert tomllib.loads((folder / LIVE_FILE).read_text()) == {"objective": {"beta": 0.2}}
    page.close()
