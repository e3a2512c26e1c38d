"""Runs as a page: what it holds, that it loads nothing, and what a browser shows of it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import turngym
from turngym.agents.episode import Episode, Turn, read_episodes, write_episodes
from turngym.cli import main
from turngym.trainers.config import RunConfig, TrainConfig, with_overrides
from turngym.trainers.reporting.curves import kept_steps
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import EPISODES, METRICS_FILE, RESULT_FILE
from turngym.trainers.viewing import page_of, run_record, serve
from turngym.trainers.viewing.page import PLACE
from turngym.trainers.viewing.records import curves_of, episode_record, spelling
from turngym.trainers.viewing.scoring import log_ratios


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs, of two seeds."""
    root = tmp_path_factory.mktemp("viewed")
    for seed in (0, 1):
        config = with_overrides(TrainConfig(), {
            "env": {"kwargs": {"size": 2}}, "warm_start": {"enabled": False}, "values": {"instances": 4, "samples": 2},
            "model": {"hidden_size": 16, "layers": 1, "copying": False, "max_reply_tokens": 4},
            "learning": {"steps": 3, "batch_size": 8}, "evaluation": {"episodes": 4},
        })  # fmt: skip
        config = with_overrides(
            config, {"run": vars(RunConfig(root=str(root), name=f"seed{seed}", seed=seed, threads=1))}
        )
        turngym.train(config)
    return root


def test_a_record_holds_what_was_logged(runs: Path) -> None:
    record = run_record(runs / "seed0")
    lines = [line for line in Metrics(runs / "seed0" / METRICS_FILE).lines() if line["phase"] == "learning"]
    assert record["name"] == "seed0" and record["env"] == 'FrozenLake {"size": 2}' and record["algorithm"] == "astarpo"
    assert record["curves"]["step"] == [1.0, 2.0, 3.0]
    assert record["curves"]["entropy"] == [line["entropy"] for line in lines]
    assert record["curves"]["total_seconds"] == sorted(record["curves"]["total_seconds"])
    assert [cells[0] for cells in record["table"]][-1] == "optimum" and "[learning]" in record["config"]
    json.dumps(record, allow_nan=False)


def test_episodes_are_shown_token_by_token(runs: Path) -> None:
    record = run_record(runs / "seed0", episodes=2)
    assert list(record["episodes"])[:2] == ["test_trained_sampled", "test_trained_greedy"]
    (path,) = (runs / "seed0" / EPISODES).glob("test_trained_sampled.jsonl")
    spell = spelling(runs / "seed0")
    for episode, shown in zip(read_episodes(path), record["episodes"]["test_trained_sampled"], strict=False):
        for turn, told in zip(episode.turns, shown["turns"], strict=True):
            ids = episode.token_ids[slice(*turn.span)]
            assert [text for text, _, _ in told["tokens"]] == list(map(spell, ids))
            assert [logprob for _, logprob, _ in told["tokens"]] == turn.logprobs
            assert told["seen"].endswith("<|assistant|>") and turn.observation.splitlines()[-1] in told["seen"]
    assert all(len(some) == 2 for some in record["episodes"].values())


def test_what_was_written_has_no_log_probability() -> None:
    turn = Turn(observation="o", action="a", reward=1.0, task_reward=1.0, state_key="s", potential=0.0, valid=True,
                span=(1, 5), forced=(2, 4), logprobs=[-0.5, -0.25])  # fmt: skip
    episode = Episode(env_id="e", split="test", index=0, seed=0, turns=[turn], token_ids=[9, 1, 2, 3, 4])
    told = episode_record(episode, str, [0.1, -0.2])
    assert told["turns"][0]["tokens"] == [["1", -0.5, 0.1], ["2", None, None], ["3", None, None], ["4", -0.25, -0.2]]
    assert told["logprob"] == -0.75


def test_the_reference_is_the_base(runs: Path) -> None:
    """Before the first step the policy is the reference: its episodes have log-ratios of 0."""
    ratios = log_ratios(runs / "seed0", 4)
    record = run_record(runs / "seed0", episodes=4, ratios=ratios)
    greedy = [ratio for name, place in ratios if name == "test_trained_greedy" for ratio in ratios[name, place]]
    shown = [ratio for episode in record["episodes"]["test_trained_greedy"] for turn in episode["turns"]
             for _, _, ratio in turn["tokens"]]  # fmt: skip
    assert greedy == shown and len(greedy) > 8 and max(map(abs, greedy)) < 0.5


def test_steps_that_were_undone_are_left_out() -> None:
    lines = [{"phase": "values", "seconds": 2.0}]
    lines += [{"phase": "learning", "step": step, "loss": loss, "seconds": 1.0} for step, loss in
              [(1, 0.5), (2, 0.4), (3, float("inf")), (2, 0.3), (3, 0.2)]]  # fmt: skip
    steps = kept_steps(lines)
    assert curves_of(steps) == {"step": [1, 2, 3], "loss": [0.5, 0.3, 0.2], "seconds": [1, 1, 1],
                                "total_seconds": [3.0, 6.0, 7.0]}  # fmt: skip
    assert curves_of([{"step": 1, "loss": float("nan")}, {"step": 2}]) == {"step": [1, 2], "loss": [None, None]}


def test_a_run_that_goes_on_is_shown(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "going"
    folder.mkdir()
    (folder / "config.toml").write_text((runs / "seed0" / "config.toml").read_text())
    record = run_record(folder)
    assert record["table"] == [] and record["curves"] == {} and record["episodes"] == {}
    (folder / EPISODES).mkdir()
    (folder / EPISODES / "train_000001.jsonl").write_text("{")
    (folder / RESULT_FILE).write_text("{")
    assert run_record(folder)["episodes"] == {}


def test_no_text_ends_the_script_of_the_page(tmp_path: Path) -> None:
    page = page_of([{"name": "</script><b>&"}])
    assert page.count("</script>") == 1 and PLACE not in page and "\\u003c/script>" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page


@pytest.fixture
def address(runs: Path) -> str:
    """The address of a server."""
    ready: list[str] = []
    begun = threading.Event()

    def told(url: str) -> None:
        ready.append(url)
        begun.set()

    thread = threading.Thread(target=serve, args=(lambda: [run_record(runs / "seed0")], 0, told), daemon=True)
    thread.start()
    assert begun.wait(20)
    return ready[0]


def fetch(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_server_answers_this_machine_alone(address: str) -> None:
    assert fetch(address)[1] == page_of()
    status, told = fetch(f"{address}records.json")
    assert status == 200 and json.loads(told)["runs"][0]["name"] == "seed0"
    assert fetch(f"{address}records.json", Host="elsewhere.example:80")[0] == 403
    assert fetch(f"{address}../config.toml")[0] == 404


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_file_is_looked_at(runs: Path, tmp_path: Path, browser: Any, width: int, scheme: str) -> None:
    out = tmp_path / "runs.html"
    assert main(["view", str(runs), "--out", str(out), "--reference"]) == 0
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.extend([request.url] * (not request.url.startswith("file:"))))
    page.goto(out.as_uri())
    assert page.locator("#title").inner_text() == "2 runs"
    assert page.locator("#chart path.line").count() == 1 and page.locator("#chart path.band").count() == 1
    assert page.locator("#key").inner_text() == 'astarpo, FrozenLake {"size": 2} (2 seeds)'
    page.locator("#bands").select_option("runs")
    page.locator("#axis").select_option("generated_tokens")
    page.locator("#number").select_option("entropy")
    assert page.locator("#chart path.line").count() == 2 and page.locator("#key span").count() == 2
    assert page.locator("#list button").count() == 4
    page.locator("#order").select_option("longest")
    page.locator("#colour").select_option("ratio")
    turns = page.locator("#episode article.turn")
    assert turns.first.locator("table.lake td").count() == 4 and turns.first.locator("pre.reply span.token").count() > 0
    assert "log-ratio" in turns.first.locator("span.token").first.get_attribute("title")
    page.locator("#filter").select_option("solved")
    assert page.locator("#list button").count() == page.locator("#list button.good").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not faults
    page.close()


def test_a_live_page_shows_what_is_new(runs: Path, address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(address)
    page.locator("#list button").first.wait_for()
    before = page.locator("#list button").count()
    path = runs / "seed0" / EPISODES / "test_trained_sampled.jsonl"
    write_episodes(path, list(read_episodes(path))[:1])
    page.locator("#list button").nth(before).wait_for(timeout=15_000)
    assert page.locator("#list button").count() == before + 1
    page.close()


# The command ----------------------------------------------------------------------------------------------------------


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
