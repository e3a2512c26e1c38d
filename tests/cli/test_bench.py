"""`bench`: its parts, its files, and what is answered to what it cannot use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import pytest
from tests.benchmarks.careless_games import PaysForFormEnv

from turngym.cli import main


def test_an_audit_is_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "audit"
    words = ["bench", "audit", "--envs", "countdown", "FrozenLake", "--episodes", "6", "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    page = (out / "audit.md").read_text()
    assert f"    turngym {' '.join(words)}\n" in page and "| FrozenLake |" in page and "| Countdown |" in page
    assert page.strip() in printed
    kept = json.loads((out / "audit.json").read_text())
    assert {finding["env_id"] for finding in kept["findings"]} == {"turngym/Countdown-v0", "turngym/FrozenLake-v0"}
    assert kept["too_much"] == []


def test_an_audit_that_finds_something_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gym.registry, "careless/Form-v0", gym.envs.registration.EnvSpec(
        "careless/Form-v0", entry_point=cast("Any", PaysForFormEnv), max_episode_steps=3))  # fmt: skip
    assert main(["bench", "audit", "--envs", "careless/Form-v0", "--episodes", "4"]) == 1
    assert "Form pays 'format only' 1.000 in success" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["audits"], "bench has no part 'audits'; did you mean 'audit'?"),
        (["audit", "--envs", "Frozzen"], "there is no environment 'Frozzen'; did you mean 'FrozenLake'?"),
        (["audit", "--episodes", "0"], "--episodes must be above 0, got 0"),
        (["audit", "--episode", "3"], "bench audit has no option --episode; did you mean '--episodes'?"),
    ],
)
def test_what_cannot_be_used(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
    assert sentence in captured.err
