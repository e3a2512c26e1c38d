"""`play`: a person, and a player that is watched."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from unittest.mock import Mock

import pytest

from turngym.cli import main, play
from turngym.envs.frozen_lake import FrozenLakeEnv


def test_a_watched_oracle_wins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "FrozenLake", "--agent", "oracle", "--episodes", "2", "--first", "4"]) == 0
    out = capsys.readouterr().out
    assert "test instance 4" in out and "test instance 5" in out
    assert out.count("Solved after") == 2 and "\n> " in out


def test_a_hostile_player_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "FrozenLake", "--agent", "hostile", "--episodes", "10"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x00" not in out and "characters)" in out
    assert len(out) < 10 * 10 * 12_000


def test_a_person_plays_and_leaves() -> None:
    done = subprocess.run([sys.executable, "-m", "turngym", "play", "FrozenLake"], input="fly\nup\n",
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    assert "Invalid action" in done.stdout and "You left the game." in done.stdout


def test_a_person_wins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    keys = iter(["up", "right"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(keys))
    assert main(["play", "FrozenLake"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("turngym/FrozenLake-v0, test instance 0\n") and "Moved up." in out
    assert out.endswith("Solved after 2 turns, return 1.\n")


def test_a_person_plays_an_environment_of_their_own(
    five_hooks_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = iter(["one", "two"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(keys))
    assert main(["play", "FiveHooks"]) == 0
    out = capsys.readouterr().out
    assert "Say one, then two. You have 3 turns." in out and out.endswith("Solved after 2 turns, return 1.\n")


@pytest.mark.parametrize(
    "words",
    [
        ["Frozn"],
        [],
        ["FrozenLake", "--agent", "nobody"],
        ["FrozenLake", "--episodes", "0"],
        ["FrozenLake", "--pause", "-1"],
        ["FrozenLake", "--pause", "nan"],
        ["FrozenLake", "--pause", "1e300"],
        ["FrozenLake", "--temperature", "1e-300"],
        ["FrozenLake", "--agent-kwargs", '{"seed": 1}'],
        ["x" * 300],
        ["FrozenLake", "--agent", "x" * 300],
    ],
)
def test_what_cannot_be_played(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("method", ["reset", "step"])
@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (RuntimeError("no more lakes"), "the environment failed: RuntimeError: no more lakes"),
        (
            (None,) * 5,
            "the environment failed: TypeError: the observation of the environment is of type NoneType, not text",
        ),
    ],
)
def test_an_environment_that_fails_in_play(
    method: str, answers: Any, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Making and resetting it once went well."""
    monkeypatch.setattr(play, "check_env", lambda *_: None)
    given = answers[:2] if method == "reset" and isinstance(answers, tuple) else answers
    monkeypatch.setattr(FrozenLakeEnv, method, Mock(side_effect=[given]))
    monkeypatch.setattr("turngym.cli.agents.check_env", lambda *_: None)
    assert main(["play", "FrozenLake", "--agent", "oracle"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"turngym: {said}") and error.count("\n") == 1
