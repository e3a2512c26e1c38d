"""Runs as a page: what it holds, that it loads nothing, and what a browser shows of it."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import turngym
from turngym._errors import InputError
from turngym.agents.episode import Episode, Turn, read_episodes, write_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import RandomAgent, ShopperAgent
from turngym.cli import main
from turngym.envs import make_env
from turngym.trainers.baselines.states import stage_one_states
from turngym.trainers.config import RunConfig, TrainConfig, with_algorithm, with_overrides, write_toml
from turngym.trainers.launch.run_folder import known_config
from turngym.trainers.live.changes import Change, write_changes
from turngym.trainers.reporting.credit import credit_file
from turngym.trainers.reporting.curves import kept_steps
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import EPISODES, LIVE_CHANGES_FILE, METRICS_FILE, RESULT_FILE
from turngym.trainers.stage_one.sampling import StageOneSetup
from turngym.trainers.stage_one.soft_values import read_transitions
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.viewing import file_record, page_of, run_record, serve
from turngym.trainers.viewing.episodes import episode_record
from turngym.trainers.viewing.page import PLACE, POLICY_PLACE, policy
from turngym.trainers.viewing.records import curves_of, marks_of
from turngym.trainers.viewing.scoring import log_ratios
from turngym.trainers.viewing.spelling import Spelling, numbered, spelling_of


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
            config,
            {"run": vars(RunConfig(root=str(root), name=f"seed{seed}", seed=seed, threads=1, checkpoint_every=2))},
        )
        turngym.train(config)
    return root


def test_a_record_holds_what_was_logged(runs: Path) -> None:
    record = run_record(runs / "seed0")
    lines = [line for line in Metrics(runs / "seed0" / METRICS_FILE).lines() if line["phase"] == "learning"]
    assert record["name"] == "seed0" and record["env"] == "FrozenLake-v0 (size=2)" and record["algorithm"] == "astarpo"
    assert record["curves"]["step"] == [1.0, 2.0, 3.0]
    assert record["curves"]["entropy"] == [line["entropy"] for line in lines]
    assert record["curves"]["total_seconds"] == sorted(record["curves"]["total_seconds"])
    assert [cells[0] for cells in record["table"]][-1] == "optimum" and "[learning]" in record["config"]
    json.dumps(record, allow_nan=False)


def test_episodes_are_shown_token_by_token(runs: Path) -> None:
    files = [file["name"] for file in run_record(runs / "seed0")["files"]]
    assert files == ["test_trained_sampled", "test_trained_greedy", "train_000003", "train_000002"]
    record = file_record(runs / "seed0", "test_trained_sampled", episodes=2)
    (path,) = (runs / "seed0" / EPISODES).glob("test_trained_sampled.jsonl")
    spelling = spelling_of(runs / "seed0")
    assert len(record["episodes"]) == 2
    for episode, shown in zip(read_episodes(path), record["episodes"], strict=False):
        for turn, told in zip(episode.turns, shown["turns"], strict=True):
            ids = episode.token_ids[slice(*turn.span)]
            assert "".join(text for text, *_ in told["tokens"]) == spelling.text(ids)
            assert [logprob for _, logprob, *_ in told["tokens"]] == turn.logprobs
            assert told["seen"].endswith("<|assistant|>") and turn.observation in told["seen"]
    json.dumps(record, allow_nan=False)


def test_a_file_that_is_not_there_or_not_whole_is_a_sentence(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"seed0 has no episodes \.\./config"):
        file_record(runs / "seed0", "../config")
    folder = going(runs, tmp_path)
    (folder / EPISODES).mkdir()
    (folder / EPISODES / "train_000001.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"train_000001 cannot be read: .*:1: not an episode"):
        file_record(folder, "train_000001")


def test_what_was_written_has_no_log_probability() -> None:
    turn = Turn(observation="o", action="a", reward=1.0, task_reward=1.0, state_key="s", potential=0.25, valid=True,
                span=(1, 5), forced=(2, 4), logprobs=[-0.5, -0.25])  # fmt: skip
    episode = Episode(env_id="e", split="test", index=0, seed=0, turns=[turn], token_ids=[9, 1, 2, 3, 4])
    told = episode_record(episode, Spelling(numbered), ratios=[0.1, -0.2], advantages=[2.0, 3.0], values=[0.5],
                          baselines=[0.75], potentials=[0.5, 0.0], pictures=[7, 8])  # fmt: skip
    (shown,) = told["turns"]
    assert shown["tokens"] == [["[1]", -0.5, 0.1, 2.0], ["[2]", None, None, None], ["[3]", None, None, None],
                               ["[4]", -0.25, -0.2, 3.0]]  # fmt: skip
    assert (shown["value"], shown["baseline"], shown["potential"], shown["own_potential"]) == (0.5, 0.75, 0.25, 0.5)
    assert (shown["picture"], told["picture"], told["logprob"]) == (7, 8, -0.75)
    bare = episode_record(episode, Spelling(numbered), potentials=[0.25])["turns"][0]
    assert bare["value"] is bare["baseline"] is bare["picture"] is bare["own_potential"] is None


def test_the_reference_is_the_base(runs: Path) -> None:
    """Before the first step the policy is the reference: its episodes have log-ratios of 0."""
    ratios = log_ratios(runs / "seed0", 4)
    record = file_record(runs / "seed0", "test_trained_greedy", episodes=4, ratios=ratios)
    greedy = [ratio for name, place in ratios if name == "test_trained_greedy" for ratio in ratios[name, place]]
    shown = [ratio for episode in record["episodes"] for turn in episode["turns"] for _, _, ratio, _ in turn["tokens"]]
    assert greedy == shown and len(greedy) > 8 and max(map(abs, greedy)) < 0.5
    assert (
        "ratio" not in record["notes"]
        and "--reference" in file_record(runs / "seed0", "train_000002")["notes"]["ratio"]
    )


def test_values_are_those_of_stage_one(runs: Path) -> None:
    """A state that stage 1 has met has the value that a baseline of states begins with; others have none."""
    folder = runs / "seed0"
    shown = file_record(folder, "train_000003")
    config = known_config(folder)
    with ValueStore(folder / "values.sqlite", None) as store:
        transitions = read_transitions(store.turns())
    states = stage_one_states(transitions, StageOneSetup.of(config).beta_value, config.values)
    keys, known = set(transitions.keys), 0
    for episode, told in zip(read_episodes(folder / EPISODES / "train_000003.jsonl"), shown["episodes"], strict=True):
        for turn, value, line in zip(episode.turns, states.before_turns(episode), told["turns"], strict=True):
            assert line["value"] == (value if turn.state_key in keys else None)
            known += turn.state_key in keys
    assert known > 0
    assert shown["notes"].get("value", f"V*: of {known} of").startswith(f"V*: of {known} of")
    assert file_record(folder, "test_trained_sampled")["notes"]["value"].startswith("V*: of 0 of ")


def test_values_are_at_the_temperature_that_was_in_force(runs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(runs / "seed0", tmp_path / "tuned"))
    write_changes(folder / LIVE_CHANGES_FILE, [Change(step=2, rollbacks=0, values={"values.beta_value": 0.03125})])
    begun = known_config(folder)
    tuned = with_overrides(begun, {"values": {"beta_value": 0.03125}})
    for stem, config in (("train_000002", begun), ("train_000003", tuned), ("test_trained_sampled", tuned)):
        with ValueStore(folder / "values.sqlite", None) as store:
            transitions = read_transitions(store.turns())
        states = stage_one_states(transitions, StageOneSetup.of(config).beta_value, config.values)
        shown, file = file_record(folder, stem), folder / EPISODES / f"{stem}.jsonl"
        for episode, told in zip(read_episodes(file), shown["episodes"], strict=True):
            for turn, value, line in zip(episode.turns, states.before_turns(episode), told["turns"], strict=True):
                assert line["value"] in (None, value), turn.state_key
        said = "at temperature 0.03125, as set live in place of values.beta_value 0.5"
        assert (said in shown["notes"].get("value", "")) == (config is tuned)


def test_a_run_without_stage_one_has_no_values(runs: Path, tmp_path: Path) -> None:
    folder = going(runs, tmp_path)
    (folder / EPISODES).mkdir()
    source = runs / "seed0" / EPISODES / "train_000003.jsonl"
    (folder / EPISODES / source.name).write_bytes(source.read_bytes())
    notes = file_record(folder, "train_000003")["notes"]
    assert notes["value"] == "V*: none; there is no values.sqlite."
    assert notes["advantage"] == "Advantages: none; this step was recorded before they were written."
    config = with_algorithm(known_config(folder), "grpo")
    (folder / "config.toml").write_text(write_toml(config))
    assert file_record(folder, "train_000003")["notes"]["value"] == "V*: none; grpo does without stage 1 in this run."
    credit_file(folder, "train_000003").parent.mkdir()
    credit_file(folder, "train_000003").write_text(
        '{"objective": "astarpo", "residual": true, "values": [], "advantages": []}'
    )
    assert (
        file_record(folder, "train_000003")["notes"]["advantage"]
        == "Advantages: none; they are of other episodes than these."
    )


def test_advantages_are_those_of_the_step(runs: Path) -> None:
    """The residual of A*PO is R - V - beta * l for every token of an episode, with the value it was compared with."""
    folder = runs / "seed0"
    shown = file_record(folder, "train_000003", ratios=log_ratios(folder, 64))
    steps = [line for line in Metrics(folder / METRICS_FILE).lines() if line["phase"] == "learning"]
    assert shown["objective"] == "astarpo" and shown["residual"] and "advantage" not in shown["notes"]
    residuals = []
    for episode in shown["episodes"]:
        tokens = [token for turn in episode["turns"] for token in turn["tokens"]]
        advantages = {round(advantage, 5) for *_, advantage in tokens}
        expected = (
            episode["reward"] - episode["turns"][0]["baseline"] - steps[-1]["beta"] * sum(r for _, _, r, _ in tokens)
        )
        assert len(advantages) == 1 and advantages.pop() == pytest.approx(expected, abs=1e-4)
        residuals.append(expected)
    assert -sum(residuals) / len(residuals) == pytest.approx(steps[-1]["residual_mean"], abs=1e-4)
    assert file_record(folder, "test_trained_greedy")["notes"]["advantage"] == (
        "Advantages: none; nothing was learned from these episodes."
    )


def test_a_lake_is_drawn_before_every_turn(runs: Path) -> None:
    record = file_record(runs / "seed0", "train_000003")
    for episode in record["episodes"]:
        places = [turn["picture"] for turn in episode["turns"]] + [episode["picture"]]
        words = [record["pictures"][place]["words"] for place in places]
        assert words[0].endswith("no moves yet.") and None not in places
        assert sum("in the hole" in text or "on the goal" in text for text in words[:-1]) == 0
        assert ("on the goal" in words[-1]) == episode["success"]
    assert {picture["kind"] for picture in record["pictures"]} == {"svg"} and "picture" not in record["notes"]
    bare = file_record(runs / "seed0", "train_000003", draw=False)
    assert bare["pictures"] == [] and bare["episodes"][0]["turns"][0]["picture"] is None


def test_steps_that_were_undone_are_left_out() -> None:
    lines = [{"phase": "values", "seconds": 2.0}]
    lines += [{"phase": "learning", "step": step, "loss": loss, "seconds": 1.0} for step, loss in
              [(1, 0.5), (2, 0.4), (3, float("inf")), (2, 0.3), (3, 0.2)]]  # fmt: skip
    steps = kept_steps(lines)
    assert curves_of(steps) == {"step": [1, 2, 3], "loss": [0.5, 0.3, 0.2], "seconds": [1, 1, 1],
                                "total_seconds": [3.0, 6.0, 7.0]}  # fmt: skip
    assert curves_of([{"step": 1, "loss": float("nan")}, {"step": 2}]) == {"step": [1, 2], "loss": [None, None]}


def test_marks_stand_at_their_steps() -> None:
    step: dict[str, Any] = {"phase": "learning", "rollbacks": 0}
    lines: list[dict[str, Any]] = [{**step, "step": 1}, {"phase": "reset", "step": 1, "round": 2}, {**step, "step": 2},
             {"phase": "alarm", "step": 2, "alarm": "kl", "figure": 2.5}, {"phase": "branch", "changed": ["a"]},
             {**step, "step": 2, "rollbacks": 1}]  # fmt: skip
    marks = list(marks_of(lines))
    assert [(mark["kind"], mark["step"]) for mark in marks] == [
        ("reset", 1),
        ("alarm", 2),
        ("branch", 2),
        ("rollback", 1),
    ]
    assert marks[1]["text"] == "alarm kl: figure 2.5" and "back to step 1" in marks[3]["text"]


def going(runs: Path, place: Path) -> Path:
    """Return the folder of a run that has only begun."""
    folder = place / "going"
    folder.mkdir()
    (folder / "config.toml").write_text((runs / "seed0" / "config.toml").read_text())
    return folder


def test_a_run_that_goes_on_is_shown(runs: Path, tmp_path: Path) -> None:
    folder = going(runs, tmp_path)
    record = run_record(folder)
    assert record["table"] == [] and record["curves"] == {} and record["files"] == [] and record["marks"] == []
    (folder / RESULT_FILE).write_text("{")
    assert run_record(folder)["table"] == []


def test_no_text_ends_the_element_it_stands_in() -> None:
    page = page_of([{"name": "</script><b>&"}], [{"f": {"end": "</script><script>"}}])
    assert page.count("</script>") == 2 and PLACE not in page and POLICY_PLACE not in page
    assert "\\u003c/script>" in page and policy() in page and "unsafe-inline" not in policy().split("style-src")[0]
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page


@pytest.fixture
def address(runs: Path) -> str:
    """The address of a server."""
    ready: list[str] = []
    begun = threading.Event()

    def told(url: str) -> None:
        ready.append(url)
        begun.set()

    def file_of(run: int, stem: str) -> dict[str, Any]:
        return file_record([runs / "seed0"][run], stem)

    thread = threading.Thread(target=serve, args=(lambda: [run_record(runs / "seed0")], file_of, 0, told), daemon=True)
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
    status, told = fetch(f"{address}episodes.json?run=0&file=train_000003")
    assert status == 200 and len(json.loads(told)["episodes"]) == 8
    for question in ("run=0&file=../config", "run=7&file=train_000003", "run=x&file=y", "run=0"):
        status, told = fetch(f"{address}episodes.json?{question}")
        assert status == 404 and json.loads(told)["error"]
    assert fetch(f"{address}../config.toml")[0] == 404


def test_what_the_page_has_is_not_sent_again(address: str) -> None:
    with urllib.request.urlopen(f"{address}records.json", timeout=10) as answer:  # noqa: S310
        tag = answer.headers["ETag"]
    assert fetch(f"{address}records.json", **{"If-None-Match": tag}) == (304, "")
    assert fetch(f"{address}records.json", **{"If-None-Match": '"other"'})[0] == 200


def test_whoever_leaves_early_is_no_fault(capfd: pytest.CaptureFixture[str]) -> None:
    asked, go_on, ready = threading.Event(), threading.Event(), list[str]()
    begun = threading.Event()

    def slow(run: int, stem: str) -> dict[str, Any]:
        asked.set()
        assert go_on.wait(20)
        return {"episodes": ["x" * 5_000_000]}

    def told(url: str) -> None:
        ready.append(url)
        begun.set()

    threading.Thread(target=serve, args=(list, slow, 0, told), daemon=True).start()
    assert begun.wait(20)
    with socket.create_connection(("127.0.0.1", int(ready[0].strip("/").rpartition(":")[2]))) as connection:
        connection.sendall(b"GET /episodes.json?run=0&file=a HTTP/1.1\r\nHost: localhost:1\r\n\r\n")
        assert asked.wait(20)
    go_on.set()
    assert (
        fetch(f"{ready[0]}episodes.json?run=0&file=a")[0] == 200
    )  # waits for its turn, and so for the end of the first
    assert "Traceback" not in capfd.readouterr().err


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_file_is_looked_at(runs: Path, tmp_path: Path, browser: Any, width: int, scheme: str) -> None:
    out = tmp_path / "runs.html"
    assert main(["view", str(runs), "--out", str(out), "--reference"]) == 0
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.extend([request.url] * (not request.url.startswith(("file:", "data:")))))
    page.goto(out.as_uri())
    assert page.locator("#title").inner_text() == "2 runs"
    assert page.locator("#chart path.line").count() == 1 and page.locator("#chart path.band").count() == 1
    assert page.locator("#key").inner_text() == "astarpo, FrozenLake-v0 (size=2) (2 seeds)"
    page.locator("#bands").select_option("runs")
    page.locator("#axis").select_option("generated_tokens")
    page.locator("#number").select_option("entropy")
    assert page.locator("#chart path.line").count() == 2 and page.locator("#key span").count() == 2
    assert page.locator("#list button").count() == 4
    page.locator("#order").select_option("longest")
    page.locator("#colour").select_option("ratio")
    turns = page.locator("#episode article.turn")
    lake = turns.first.locator("img.picture")
    assert (
        lake.get_attribute("alt").startswith("A lake of 2 rows") and lake.evaluate("image => image.naturalWidth") > 50
    )
    assert turns.first.locator("pre.reply span.token").count() > 0
    assert "log-ratio" in turns.first.locator("span.token").first.get_attribute("title")
    assert "V* unknown" in turns.first.locator("header").inner_text()
    page.locator("#colour").select_option("advantage")
    assert "nothing was learned from these episodes" in page.locator("#notes").inner_text()
    page.locator("#file").select_option("train_000003")
    turns.first.locator("header", has_text="compared with").wait_for()
    assert "by the residual of its regression" in page.locator("#notes").inner_text()
    assert "advantage" in turns.first.locator("span.token").first.get_attribute("title")
    colours = turns.locator("span.token").evaluate_all("spans => spans.map(span => span.style.background)")
    assert any("rgba(42, 157, 92" in colour or "rgba(209, 73, 91" in colour for colour in colours)
    page.locator("#filter").select_option("solved")
    assert page.locator("#list button").count() == page.locator("#list button.good").count()
    page.locator("#filter").select_option("failed")
    assert page.locator("#list button").count() == page.locator("#list button.bad").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not faults
    page.close()


@pytest.mark.parametrize("axis", ["step", "generated_tokens", "total_seconds"])
def test_marks_are_drawn_on_every_axis(runs: Path, tmp_path: Path, browser: Any, axis: str) -> None:
    record = run_record(runs / "seed0")
    record["marks"] = [{"step": 2, "kind": kind, "text": f"{kind}: <b>told</b>"} for kind in ("alarm", "reset")]
    (tmp_path / "run.html").write_text(page_of([record], [{}]))
    page = browser.new_page()
    page.goto((tmp_path / "run.html").as_uri())
    page.locator("#axis").select_option(axis)
    assert page.locator("#chart line.mark.alarm").count() == page.locator("#chart line.mark.reset").count() == 1
    x0, x1, x = (
        float(page.locator("#chart path.line").evaluate(f"p => p.getBBox().{part}")) for part in ("x", "width", "x")
    )
    assert x0 <= float(page.locator("#chart line.mark.reset").get_attribute("x1")) <= x + x1
    assert page.locator("#marks li").count() == 2 and "<b>told</b>" in page.locator("#marks").inner_text()
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


ATTACK = "</script></pre><img src=x onerror=document.title='run'><script>document.title='run'</script>\"'{{7*7}}"
"""What a model may write; harmless, but for the title that would change."""


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [("turngym/WebShop-v0", {"num_products": 50}), ("turngym/FrozenLake-v0", {}), ("turngym/Countdown-v0", {})],
)
def test_nothing_that_a_model_wrote_is_run(
    runs: Path, tmp_path: Path, browser: Any, env_id: str, kwargs: dict[str, Any]
) -> None:
    """In no place of the page, nor in the pages of a shop that shows again what was searched for."""
    folder = going(runs, tmp_path)
    agent = RandomAgent() if "Shop" not in env_id else ShopperAgent()
    (episode,) = collect_episodes(agent, env_id, instance_range("train", 1), env_kwargs=kwargs)
    env = make_env(env_id, kwargs)
    env.reset(seed=episode.seed, options={"split": "train", "index": 0})
    reply = f"search[{ATTACK}]" if "Shop" in env_id else ATTACK
    episode.turns = episode.turns[:1]
    episode.turns[0].action, episode.turns[0].span = reply, (0, 0)
    episode.final_observation = env.step(reply)[0]
    episode.error = episode.instructions = ATTACK
    write_episodes(folder / EPISODES / "train_000001.jsonl", [episode])
    record = run_record(folder)
    record["name"] = ATTACK
    shown = file_record(folder, "train_000001")
    assert shown["episodes"][0]["picture"] is not None
    (tmp_path / "run.html").write_text(page_of([record], [{"train_000001": shown}]))
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.extend([request.url] * (not request.url.startswith(("file:", "data:")))))
    page.goto((tmp_path / "run.html").as_uri())
    page.locator("#episode article.turn").nth(1).scroll_into_view_if_needed()
    assert ATTACK in page.locator("pre.reply").inner_text()
    if "Shop" in env_id:
        page.frame_locator("iframe.picture >> nth=1").locator("main").wait_for()
        frame = page.frame_locator("iframe.picture >> nth=0")
        assert frame.locator("#form-buscar").count() == 1 and frame.locator("script").count() == 0
    assert page.title() == "turngym: runs" and page.locator("#episode script, #episode img[src=x]").count() == 0
    assert asked == []
    page.close()


def test_a_program_in_the_page_would_not_run(tmp_path: Path, browser: Any) -> None:
    """Even where text became markup, which it does not: the browser runs the page's own program alone."""
    page_file = tmp_path / "page.html"
    page_file.write_text(
        page_of([], []).replace(
            "<h1", "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\"><h1"
        )
    )
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_timeout(200)
    assert page.title() == "turngym: runs" and page.locator("#title").inner_text() == "0 runs"
    page.close()
