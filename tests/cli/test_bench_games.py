"""`bench games`: environments x agents, who plays where, and a table that goes on at the episode."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.cli.tiny_run import TINY

from turngym.agents.episode import Episode
from turngym.agents.episode_file import EpisodeFile
from turngym.cli import main

STEPS = TINY.replace("kwargs = {size = 2}", 'id = "turngym/MultiplicationSteps-v0"\n'
                     'kwargs = {digits = [1, 1], digit_order = "least_first"}')  # fmt: skip


def bench(out: Path, *words: str, code: int = 0) -> list[dict[str, str]]:
    """Measure a few episodes, and return the rows of the figures."""
    assert main(["bench", "games", "--out", str(out), "--episodes", "6", *words]) == code
    with (out / "games.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def who(rows: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    return [(row["environment"].removeprefix("turngym/"), row["agent"]) for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run on lakes of four squares, and one on products of digits."""
    root = tmp_path_factory.mktemp("runs")
    for name, text in {"lake": TINY, "steps": STEPS}.items():
        (root / f"{name}.toml").write_text(text)
    for preset, words in {"lake": ["FrozenLake"], "steps": []}.items():
        assert main(["train", *words, "--preset", str(root / f"{preset}.toml"), "--run.root", str(root), "--run.name",
                     f"{preset}-seed0"]) == 0  # fmt: skip
    return [root / "lake-seed0", root / "steps-seed0"]


def test_scripted_agents_play_where_they_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = bench(tmp_path, "--envs", "frozenlakeslippery", "WebShop")
    assert who(rows) == [("FrozenLakeSlippery-v0", "random"), ("FrozenLakeSlippery-v0", "oracle"),
                         ("WebShop-v0", "random"), ("WebShop-v0", "rule"), ("WebShop-v0", "oracle")]  # fmt: skip
    assert 0 < float(rows[0]["optimum"]) < 1 and float(rows[1]["share"]) == pytest.approx(
        float(rows[1]["success"]) / float(rows[1]["optimum"]), abs=1e-5
    )
    printed = capsys.readouterr().out
    assert "FrozenLakeSlippery-v0 random" in printed and printed.count("optimum") >= 4
    assert "games.csv, games.json, games.md" in printed
    page = (tmp_path / "games.md").read_text()
    assert f"turngym bench games --out {tmp_path} --episodes 6 --envs frozenlakeslippery WebShop" in page


def test_all_environments_are_played_unless_some_are_named(tmp_path: Path) -> None:
    rows = bench(tmp_path, "--scripted", "random", "--episodes", "1")
    assert {"turngym/FrozenLake-v0", "turngym/Countdown4-v0", "turngym/WebShopOriginal-v0"} <= {
        row["environment"] for row in rows
    }
    assert [row["environment"] for row in rows] == sorted(row["environment"] for row in rows) and len(rows) >= 13


def test_a_run_plays_where_it_was_trained(runs: Sequence[Path], tmp_path: Path) -> None:
    words = [word for run in runs for word in ("--agent", str(run))]
    options = ["--scripted", "random", "--decoding", "sampled", "--seeds", "0", "1"]
    rows = bench(tmp_path, *words, *options, "--envs", "FrozenLake", "MultiplicationSteps")
    lake, digits = "FrozenLake-v0, size = 2", "MultiplicationSteps-v0, digits = [1, 1]"
    assert who(rows) == [
        ("FrozenLake-v0", "random"), (lake, "random"), (lake, "lake, base, sampled"), (lake, "lake, trained, sampled"),
        ("MultiplicationSteps-v0", "random"), (digits, "random"), (digits, "steps, base, sampled"),
        (digits, "steps, trained, sampled"),
    ]  # fmt: skip
    assert [row["runs"] for row in rows] == ["2"] * 8
    assert all(row["over_runs"] for row in rows) and float(rows[2]["tokens"]) > 0
    kept = json.loads((tmp_path / "games.json").read_text())
    steps = [entry["key"]["arguments"] for entry in kept["cells"] if entry["agent"].startswith("steps")]
    assert len(steps) == 4 and all(one["digit_order"] == "least_first" for one in steps)
    assert next(float(row["floor"]) for row in rows if "base" in row["agent"]) == float(rows[1]["success"])


def test_a_run_whose_environment_is_not_named_plays_in_all_that_are(runs: Sequence[Path], tmp_path: Path) -> None:
    rows = bench(tmp_path, "--agent", f"mine={runs[0]}", "--scripted", "--decoding", "greedy", "--envs", "Countdown")
    assert who(rows) == [("Countdown-v0", "mine, base, greedy"), ("Countdown-v0", "mine, trained, greedy")]


def test_an_environment_that_offers_little(
    tmp_path: Path, five_hooks_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = bench(tmp_path, "--envs", five_hooks_id, "Countdown", "--scripted", "random")
    assert who(rows) == [("Countdown-v0", "random")]
    out = capsys.readouterr().out
    assert f"{five_hooks_id} is in no row: none of random can play it." in out
    assert "No random floor: FiveHooks does not define sample_action." in out


def test_a_table_goes_on_at_the_episode_at_which_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[int] = []
    write = EpisodeFile.write

    def stopped(file: EpisodeFile, agent: str, episode: Episode) -> None:
        write(file, agent, episode)
        written.append(episode.index)
        if len(written) == 9:
            signal.raise_signal(signal.SIGTERM)

    words = ["bench", "games", "--out", str(tmp_path), "--episodes", "6", "--envs", "Countdown", "--slots", "2"]
    with monkeypatch.context() as patched:
        patched.setattr(EpisodeFile, "write", stopped)
        assert main(words) == 128 + signal.SIGTERM
    assert f"{tmp_path} holds the episodes that were played; the same command goes on." in capsys.readouterr().out
    assert len(written) == 9 and not (tmp_path / "games.md").exists()
    monkeypatch.setattr(EpisodeFile, "write", lambda file, agent, episode: written.append(episode.index))
    assert main(words) == 0
    assert len(written) == 12, "of the second cell only what was missing is played"
    assert "oracle: 3 of 6 episodes were played before a stop" in capsys.readouterr().out
    assert main(words) == 0 and len(written) == 12
    rows = list(csv.DictReader((tmp_path / "games.csv").read_text().splitlines()))
    assert [(row["agent"], row["episodes"]) for row in rows] == [("random", "6"), ("oracle", "6")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--envs", "Frozzen"], "there is no environment 'Frozzen'; did you mean 'FrozenLake'?"),
        (["--envs", "Countdown", "--env-kwargs", '{"size": 3}'], "Countdown takes no argument 'size'"),
        (["--first", "-1"], "--first must be at least 0, got -1"),
        (["--slots", "0"], "--slots must be above 0, got 0"),
        (["--seeds"], "--seeds needs a value"),
        (["--scripted"], "nobody plays: name scripted agents with --scripted, or others with --agent"),
        (["--envs", "Countdown", "--scripted", "rule"], "rule can play in none of turngym/Countdown-v0"),
        (["--isolate", "-1", "--envs", "Countdown"], "--isolate must be"),
        (["--max-dollars", "1"], "--max-dollars is for agents openai:MODEL"),
        (["--agent", "orcale"], "there is no agent 'orcale'"),
    ],
)
def test_tables_that_cannot_be_made(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "games", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
    assert sentence in captured.err and not list(tmp_path.iterdir())
