"""The table of what the presets reach, from run folders to Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from turngym.agents.evaluation import Score
from turngym.agents.intervals import wilson_interval
from turngym.benchmarks import learning


def score(successes: int) -> dict[str, Any]:
    return Score(
        episodes=100, successes=successes, rate=successes / 100, interval=wilson_interval(successes, 100),
        mean_return=successes / 100, mean_turns=4.0, mean_tokens=8.0, seconds=1.0, errors=0,
        instances=96, cut_episodes=0.0, cut_replies=0.02,
    ).to_dict()  # fmt: skip


def write_run(folder: Path, successes: list[int], optimum: float | None = 0.8, kwargs: str = "") -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(f'[env]\nid = "turngym/FrozenLake-v0"\n{kwargs}\n')
    scores = {agent: score(count) for agent, count in zip(learning.AGENTS, successes, strict=True)}
    seconds = {"warm_start": 10.0, "values": 2.0, "learning": 20.0, "test": 1.0}
    (folder / "result.json").write_text(json.dumps({"optimum": optimum, **scores, "seconds": seconds}))
    return folder


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_runs_of_an_environment_are_one_row(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [20, 30, 50, 60, 70])
    two = write_run(tmp_path / "two", [20, 40, 50, 70, 80])
    table = rows(learning.report([learning.read_run(one), learning.read_run(two)]))
    assert table[2] == [
        "FrozenLake-v0", "2", "4.0", "0.200", "0.800", "0.350 (0.300-0.400)", "0.500 (0.500-0.500)",
        "0.650 (0.600-0.700)", "0.750 (0.700-0.800)", "81%", "33",
    ]  # fmt: skip
    assert len(table[0]) == len(table[1]) == len(table[2])
    assert [row[0] for row in table[6:]] == ["one", "two"]
    assert table[6][1:4] == ["100", "96", "0.300 [0.219, 0.396]"]
    assert table[6][-3:] == ["0/2", "10", "22"] and len(table[4]) == len(table[5]) == len(table[6])


def test_other_arguments_are_another_environment(tmp_path: Path) -> None:
    plain = write_run(tmp_path / "plain", [1] * 5)
    small = write_run(tmp_path / "small", [1] * 5, optimum=None, kwargs="[env.kwargs]\nsize = 3")
    table = rows(learning.report([learning.read_run(small), learning.read_run(plain)]))
    assert [row[0] for row in table[2:4]] == ["FrozenLake-v0", "FrozenLake-v0 (size=3)"]
    assert [row[4] for row in table[2:4]] == ["0.800", "unknown"]
    assert [row[-2] for row in table[2:4]] == ["1%", "unknown"]


def test_the_table_goes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", [20, 30, 50, 60, 70])
    assert learning.main([str(run), "--out", str(tmp_path / "results" / "learning.md")]) == 0
    assert (tmp_path / "results" / "learning.md").read_text() == capsys.readouterr().out


def test_an_unfinished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learning.main([str(tmp_path)]) == 2
    assert f"{tmp_path} holds no complete run" in capsys.readouterr().err
