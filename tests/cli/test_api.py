"""`openai:MODEL` in every command that plays: tables, files that go on, bounds, and the key, which stands nowhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agents.serving.model_server import CHAT, Answer, ModelServer, serving

from turngym.agents.api import BASE_VARIABLE, KEY_VARIABLE
from turngym.agents.episode import Episode, read_episodes
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.serving import connection
from turngym.cli import main

KEY = "key-of-the-tests-0123456789abcdef"
TINY = ["openai:tiny", "--max-reply-tokens", "4", "--greedy"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the smallest model."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["Move up."], vocabulary_size=300, show_instructions=True)
    decoder = build_decoder(tokenizer, hidden_size=16, layers=1, heads=2, feedforward_size=16, context_length=4096)
    LanguageModel(decoder, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def server(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A server that asks for a key, which the user has set, as well as its address."""
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.chdir(tmp_path)
    with serving(weights, key=KEY) as started:
        monkeypatch.setenv(BASE_VARIABLE, f"{started.url}/v1")
        yield started


@pytest.fixture(autouse=True)
def _key_stands_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Look for the key in all files of a test, and in what it printed and did not read."""
    yield
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert [str(path) for path, content in written.items() if KEY.encode() in content] == []
    assert KEY not in "".join(capsys.readouterr())


def says(text: str, *, thoughts: int = 0) -> Any:
    """Let a model say the same in every turn, and think so many tokens."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": thoughts}}
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return lambda path, body: Answer(content={"choices": [choice], "usage": usage})


def after(count: int, fault: Answer) -> Any:
    """Fail after so many requests."""
    asked = iter(range(10**6))
    return lambda path, body, answer: answer if next(asked) < count else fault


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed, on one line, and check that the key is not in it."""
    captured = capsys.readouterr()
    assert KEY not in captured.out + captured.err
    return " ".join((captured.out + captured.err).split())


def plain(episodes: list[Episode]) -> list[str]:
    return sorted(episode.to_json() for episode in episodes)


# Tables ---------------------------------------------------------------------------------------------------------------


def test_a_server_is_evaluated_beside_floor_and_optimum(
    server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = says("<think>Above.</think>up", thoughts=6)
    words = ["--env", "FrozenLake", "--episodes", "4", "--price-in", "1", "--price-out", "10"]
    assert main(["evaluate", *TINY, *words]) == 0
    out = told(capsys)
    assert "test split, greedy, replies of at most 4, history all" in out and "optimum" in out and "random" in out
    turns = server.count(CHAT)
    assert f"Spent: {turns} replies, 0 retries, {turns * 100:,} prompt tokens and {turns * 10:,} completion " in out
    assert f"({turns * 6:,} of thoughts), ${turns * 200 / 1e6:.4f}." in out
    (row,) = re.findall(r"openai:tiny (\d\.\d+) \[\S+ \S+ \S+ (\S+) (\S+)", out)
    assert float(row[2]) == pytest.approx(10 * float(row[1])), "tokens are those that the server counted"


def test_lenient_replies_are_counted_under_the_table(server: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.script = says("I go on.\n**Action:** Up.")
    words = ["--env", "FrozenLake", "--episodes", "3"]
    assert main(["evaluate", *TINY, *words, "--lenient"]) == 0
    assert "openai:tiny: only the lenient reading made 100.0% of the replies usable." in told(capsys)
    assert main(["evaluate", *TINY, *words]) == 0
    assert "lenient" not in told(capsys)


def test_samples_show_pass_at_k_and_the_best_return(server: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--env", "FrozenLake", "--episodes", "10", "--samples", "3"]
    assert main(["evaluate", "random", *words]) == 0
    out = told(capsys)
    rates = [float(rate) for rate in re.findall(r"pass@\d (\d\.\d+) \[", out)]
    assert len(rates) == 3 and rates == sorted(rates) and rates[0] < rates[2]
    assert f"best return of 3 {rates[2]:.3f}" in out and "30 episodes of 10 instances" in out
    assert re.search(rf"random {rates[0]:.3f} ", out), "pass@1 is the success of the table"
    assert main(["evaluate", *TINY, "--env", "FrozenLake", "--episodes", "2", "--samples", "2", "--slots", "1"]) == 0
    assert "pass@2" in told(capsys)
    assert len({body["seed"] for _, body in server.requests}) == len(server.requests)


def test_many_samples_show_some_k() -> None:
    from turngym.agents.samples import SampleScore
    from turngym.cli.evaluate import sample_table

    score = SampleScore(samples=20, instances=1, best_return=0.0, best_interval=(0.0, 0.0),
                        pass_at=dict.fromkeys(range(1, 21), (0.5, (0.0, 1.0))))  # fmt: skip
    rows = list(sample_table({"a": score, "b": None}).columns[0].cells)
    assert rows == ["pass@1", "pass@2", "pass@4", "pass@8", "pass@16", "pass@20", "best return of 20"]


def test_two_agents_are_compared_in_pairs(server: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.script = says("nowhere")
    words = ["--env", "FrozenLake", "--episodes", "20", "--against", *TINY]
    assert main(["evaluate", "oracle", *words]) == 0
    out = told(capsys)
    difference = re.search(r"oracle less openai:tiny: success \+1.000, 95% interval \[\+(\S+), \+1.000\], paired", out)
    assert difference is not None and float(difference[1]) > 0.6 and "; openai:tiny: greedy" in out
    assert main(["evaluate", "oracle", "--against", "oracle", "--env", "FrozenLake", "--episodes", "5"]) == 0
    assert "oracle less oracle (2): success +0.000" in told(capsys)


# Files that go on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["rollout", "evaluate"])
def test_what_was_played_is_not_played_again(
    command: str, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    env = ["FrozenLake"] if command == "rollout" else ["--env", "FrozenLake"]
    words = [command, *TINY, *env, "--episodes", "6", "--parallel", "1", "--out", "x.jsonl"]
    assert main(words) == 0
    whole = list(read_episodes(Path("x.jsonl")))
    assert len(whole) == 6 and told(capsys)
    server.spoil = after(server.count(CHAT) // 2, Answer(status=500))
    words[-1] = "y.jsonl"
    assert main([*words, "--resume", "--retries", "0"]) == 1
    out = told(capsys)
    assert "y.jsonl holds the episodes that were played. With --resume the same command goes on." in out
    assert "with status 500" in out and "Spent: " in out
    half = list(read_episodes(Path("y.jsonl")))
    assert 0 < len(half) < 6 and not any(episode.status.is_error() for episode in half)
    server.spoil, before = None, server.count(CHAT)
    assert main([*words, "--resume"]) == 0
    assert f"openai:tiny: {len(half)} of 6 episodes are from y.jsonl" in told(capsys)
    assert server.count(CHAT) - before == sum(len(one.turns) for one in whole) - sum(len(one.turns) for one in half)
    assert plain(list(read_episodes(Path("y.jsonl")))) == plain(whole)
    before = server.count(CHAT)
    assert main([*words, "--resume"]) == 0 and server.count(CHAT) == before
    assert "6 of 6" in told(capsys)
    assert main([*words, "--resume", "--lenient"]) == 0 and server.count(CHAT) > before, "that is another game"
    assert main(words) == 2
    assert "go on with it by --resume" in told(capsys)


def test_other_agents_share_a_file_and_nothing_else(server: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["FrozenLake", "--episodes", "3", "--out", "x.jsonl", "--resume"]
    assert main(["rollout", "random", *words]) == main(["rollout", *TINY, *words]) == 0
    assert main(["rollout", *TINY, *words, "--history", "turn"]) == 0
    episodes = list(read_episodes(Path("x.jsonl")))
    agents = [json.loads(episode.agent)["agent"] for episode in episodes]
    assert agents == ["random"] * 3 + ["openai:tiny"] * 6 and len({episode.agent for episode in episodes}) == 3
    assert "of 3 episodes are from" not in told(capsys)


def test_play_stops_at_a_bound_and_goes_on(server: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.script = says("nowhere")
    words = ["rollout", *TINY, "FrozenLake", "--episodes", "4", "--parallel", "1", "--out", "x.jsonl", "--resume",
             "--price-in", "10", "--price-out", "0", "--max-dollars", "0.025"]  # fmt: skip
    assert main(words) == 1
    out = told(capsys)
    assert "$0.0250 are spent, and max_dollars is 0.025: play has stopped" in out
    assert "x.jsonl holds the episodes that were played" in out and "Spent: 25 replies" in out
    assert len(list(read_episodes(Path("x.jsonl")))) == 2
    assert main(words) == 0
    assert len(list(read_episodes(Path("x.jsonl")))) == 4 and "2 of 4 episodes are from x.jsonl" in told(capsys)
    assert main(["evaluate", *TINY, "--env", "FrozenLake", "--episodes", "9", "--max-tokens", "150"]) == 1
    assert "Nothing that was played is kept: name a file with --out to keep games." in told(capsys)


# Play and bench -------------------------------------------------------------------------------------------------------


def test_a_server_is_watched(server: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.script = says("**up**")
    assert main(["play", "FrozenLake", "--agent", *TINY, "--lenient", "--env-kwargs", '{"max_episode_steps": 2}']) == 0
    out = told(capsys)
    assert "openai:tiny, greedy" in out and out.count("> **up**") == 2 and "Invalid" not in out
    assert "Spent: 2 replies" in out


def test_a_server_is_measured_in_the_shop_and_goes_on_at_the_episode(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = says("Action: search[shoes].")
    words = ["bench", "webshop", "--out", "out", "--num-products", "60", "--protocols", "fixed", "--scripted",
             "--agent", "mine=openai:tiny", "--decoding", "greedy", "--episodes", "5", "--lenient", "--parallel", "1",
             "--env-kwargs", '{"max_episode_steps": 2}']  # fmt: skip
    assert main([*words, "--max-tokens", "700"]) == 1
    assert "the same command goes on" in told(capsys)
    (unfinished,) = (tmp_path / "out" / "cells").iterdir()
    kept = list(read_episodes(unfinished))
    assert 0 < len(kept) < 5
    before = server.count(CHAT)
    assert main(words) == 0
    out = told(capsys)
    assert server.count(CHAT) - before == 2 * (5 - len(kept))
    assert "mine, greedy: only the lenient reading made" in out and "of the replies usable" in out
    (cell,) = (tmp_path / "out" / "cells").iterdir()
    key = json.loads(cell.read_text())["key"]
    assert key["agent"]["agent"] == "openai:tiny" and key["agent"]["temperature"] == 0 and key["lenient"] is True
    before = server.count(CHAT)
    assert main(words) == 0 and server.count(CHAT) == before
    assert "mine, greedy" in told(capsys)


# What cannot be used --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["openai:"], "name the model behind the server, such as openai:gpt-4o-mini"),
        ([*TINY, "--base-url", "http://me:hush-hush@host"], "environment variable OPENAI_API_KEY"),
        ([*TINY, "--base-url", "host"], "'host' is no address of a server"),
        ([*TINY, "--device", "cpu"], "--device is for models that are loaded here"),
        ([*TINY, "--context-length", "9"], "--context-length is for models that are loaded here"),
        ([*TINY, "--history-turns", "3"], "--history-turns is read with --history window alone"),
        ([*TINY, "--parallel", "0"], "--parallel must be at least 1, got 0"),
        ([*TINY, "--api", "responses"], "--api takes one of chat, completions, not 'responses'"),
        ([*TINY, "--max-dollars", "1"], "--max-dollars needs prices: give --price-in and --price-out"),
        ([*TINY, "--price-in", "1"], "--price-in and --price-out belong together"),
        ([*TINY, "--agent-kwargs", '{"a": 1}'], "--agent-kwargs is for random"),
        ([*TINY, "--resume"], "--resume goes on with a file: name it with --out"),
        ([*TINY, "--samples", "0"], "--samples must be above 0, got 0"),
        (["random", "--base-url", "http://127.0.0.1"], "--base-url is for agents openai:MODEL, and none is named"),
        (["random", "--max-tokens", "5"], "--max-tokens is for agents openai:MODEL"),
        (["random", "--against", "rando"], "nor openai:MODEL; did you mean 'random'?"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    words: list[str], sentence: str, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *words, "--env", "FrozenLake", "--episodes", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "hush" not in captured.err
    assert sentence in captured.err and server.requests == []


def test_a_wrong_key_is_a_sentence_without_it(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, wrong := "wrong-key-0123456789abcdef")
    assert main(["rollout", *TINY, "FrozenLake", "--episodes", "1"]) == 1
    out = told(capsys)
    assert "asks for a key: put it into the environment variable OPENAI_API_KEY" in out and wrong not in out
    assert not Path("episodes.jsonl").exists()
