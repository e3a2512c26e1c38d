"""`rollout`: lines that fine-tuning tools take, and that come back as demonstrations."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from turngym.agents.episode import Episode, read_episodes
from turngym.agents.episode_file import EpisodeFile
from turngym.cli import main
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.extras import install_command
from turngym.trainers.warm_start.demonstrations import read_demonstrations


def refused_by_converters(messages: list[dict[str, Any]]) -> str:
    """Return why converters of conversations drop one; empty if they take it.

    They take a system message apart if it is the first, and ask of the others that user and assistant alternate from
    the user on and that their number is even.
    """
    if messages and messages[0]["role"] == "system":
        messages = messages[1:]
    for place, message in enumerate(messages):
        if set(message) != {"role", "content"} or message["role"] != ("user", "assistant")[place % 2]:
            return f"message {place} is the {message.get('role')}'s"
    return "" if messages and len(messages) % 2 == 0 else f"there are {len(messages)}"


@pytest.mark.parametrize(
    ("agent", "env", "kwargs"),
    [
        ("oracle", "Countdown", {}),
        ("random", "FrozenLake", {"reasoning": True}),
        ("hostile", "Countdown", {}),
        ("hostile", "WebShop", {"max_episode_steps": 4, "num_products": 50}),
        ("rule", "WebShopOriginal", {"goals": "synthetic", "num_products": 50}),
    ],
)
def test_every_conversation_is_taken(
    agent: str, env: str, kwargs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["rollout", agent, env, "--env-kwargs", json.dumps(kwargs), "--episodes", "20"]) == 0
    lines = Path("episodes.jsonl").read_bytes().splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert len(records) == 20
    for record in records:
        assert refused_by_converters(record["messages"]) == "" and record["messages"][-1]["role"] == "assistant"
        assert record["final_observation"] not in (None, "") and record["messages"][0]["role"] == "system"
        json.dumps(record, ensure_ascii=False, allow_nan=False).encode()  # UTF-8 has a form for all of it
    played = list(read_episodes(Path("episodes.jsonl")))
    assert [episode.final_observation for episode in played] == [record["final_observation"] for record in records]
    if agent != "hostile":  # whose empty replies nobody can learn
        assert len(read_demonstrations("episodes.jsonl")) == 20


def test_the_rules_of_converters_are_not_empty() -> None:
    user, assistant = {"role": "user", "content": "o"}, {"role": "assistant", "content": "a"}
    assert refused_by_converters([user, assistant]) == ""
    for bad in ([], [user], [user, assistant, user], [assistant, user], [user, {"role": "system", "content": ""}]):
        assert refused_by_converters(bad) != ""


def test_a_name_that_stands_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "random", "FrozenLake", "--env-kwargs", '{"size": 4, "size": 5}']) == 2
    assert "--env-kwargs takes a JSON object" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [("--episodes", "must be at most 10000000"), ("--isolate", "must be in [0, 1024], got 9")],
)
def test_amounts_beyond_every_machine_are_refused(flag: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "random", "FrozenLake", flag, "9" * 400]) == 2
    told = capsys.readouterr().err
    assert f"turngym: {flag} {sentence}" in told and len(told.splitlines()) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_arguments_are_json_too(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "random", "FrozenLake", "--env-kwargs", f'{{"success_rate": {number}}}']) == 2
    assert "--env-kwargs takes a JSON object" in capsys.readouterr().err


def test_the_file_lies_where_the_command_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    step = FrozenLakeEnv.step

    def wander(self: FrozenLakeEnv, action: str) -> Any:
        os.chdir(tmp_path / "elsewhere")
        return step(self, action)

    monkeypatch.setattr(FrozenLakeEnv, "step", wander)
    assert main(["rollout", "oracle", "FrozenLake", "--episodes", "3"]) == 0
    assert len(list(read_episodes(tmp_path / "episodes.jsonl"))) == 3


def test_parquet_goes_on_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra parquet")
    monkeypatch.chdir(tmp_path)
    words = ["rollout", "oracle", "FrozenLake", "--out", "shown.parquet", "--slots", "1"]
    write = EpisodeFile.write

    def stop(self: EpisodeFile, agent: str, episode: Episode) -> None:
        write(self, agent, episode)
        if episode.index == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpisodeFile, "write", stop)
        assert main([*words, "--episodes", "5"]) == 130
    assert "shown.parquet.jsonl holds the episodes that were played. With --resume the same" in capsys.readouterr().out
    assert not Path("shown.parquet").exists()
    assert main([*words, "--episodes", "5"]) == 2
    assert "shown.parquet.jsonl exists already" in capsys.readouterr().err
    assert main([*words, "--episodes", "5", "--resume"]) == 0
    played = list(read_episodes(tmp_path / "shown.parquet"))
    assert sorted(episode.index for episode in played) == [0, 1, 2, 3, 4] and [*tmp_path.iterdir()] == [
        tmp_path / "shown.parquet"
    ]
    assert main([*words, "--episodes", "7", "--resume"]) == 0
    assert "5 of 7 episodes are from shown.parquet" in " ".join(capsys.readouterr().out.split())
    assert len(list(read_episodes(tmp_path / "shown.parquet"))) == 7


def test_parquet_without_its_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert main(["rollout", "oracle", "FrozenLake", "--out", str(tmp_path / "shown.parquet")]) == 2
    assert f"Parquet files need the package pyarrow: {install_command('parquet')}" in capsys.readouterr().err
