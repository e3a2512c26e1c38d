"""`bench`: its parts, its files, and what is answered to what it cannot use."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import pytest
from tests.benchmarks.careless_games import PaysForFormEnv
from tests.cli.tiny_run import TINY

import turngym.benchmarks
import turngym.cli
from turngym.agents.registry import AGENTS
from turngym.agents.scripted import ScriptedAgent, Seat
from turngym.cli import bench_table, main
from turngym.extras import install_command
from turngym.trainers.launch.policies import weights_digest

SMALL = ["--num-products", "60", "--protocols", "fixed"]
SHOP = '{num_products = 60, observation_mode = "compact", max_episode_steps = 2}'
RUN = TINY.replace("[env]", '[env]\nid = "turngym/WebShop-v0"').replace("{size = 2}", SHOP)


def bench(out: Path, *words: str) -> list[dict[str, str]]:
    """Measure in a small shop, and return the rows of the figures."""
    assert main(["bench", "webshop", "--out", str(out), *SMALL, *words]) == 0
    with (out / "webshop.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cells(out: Path) -> dict[str, int]:
    """Return the files of cells, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of one recipe in the small shop."""
    root = tmp_path_factory.mktemp("runs")
    preset = root / "tiny.toml"
    preset.write_text(RUN)
    folders = [root / f"tiny-seed{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        assert main(["train", "--preset", str(preset), "--run.root", str(root), "--run.name", folder.name,
                     "--run.seed", str(seed)]) == 0  # fmt: skip
    return folders


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


def test_a_table_of_scripted_agents_is_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = bench(tmp_path / "out")
    printed = capsys.readouterr().out
    by_agent = {row["agent"]: row for row in rows}
    assert list(by_agent) == ["random", "rule", "shopper", "oracle"]
    assert by_agent["oracle"]["success"] == "1.0" and float(by_agent["shopper"]["success"]) > 0.5
    assert by_agent["oracle"]["instances"] == by_agent["oracle"]["episodes"], "every distinct goal once"
    assert "generated, 60 products, fixed" in printed and "What can be reached: the oracle" in printed
    assert "webshop.csv, webshop.json, webshop.md, webshop.png" in printed
    page = (tmp_path / "out" / "webshop.md").read_text()
    assert f"turngym bench webshop --out {tmp_path / 'out'} --num-products 60 --protocols fixed" in page
    assert "## Published" in page


def test_finished_cells_are_not_played_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = bench(tmp_path, "--episodes", "4")
    before = cells(tmp_path)
    assert bench(tmp_path, "--episodes", "4", "--agent", "shopper-details")[:3] == first[:3]
    assert len(before) == 4 and len(cells(tmp_path)) == 5 and before.items() <= cells(tmp_path).items()
    capsys.readouterr()
    bench(tmp_path, "--episodes", "3", "--scripted", "oracle")
    assert "In no table: 5 files in " in capsys.readouterr().out


def test_who_stops_it_is_told_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(bench_table, "play_cells", stop)
    out = tmp_path / "out"
    assert main(["bench", "webshop", "--out", str(out), *SMALL]) == 128 + signal.SIGTERM
    said = capsys.readouterr()
    assert (
        f"{out} holds the episodes that were played; the same command goes on." in said.out and said.err == "Stopped.\n"
    )


class Mute(ScriptedAgent):
    """Cannot be made to reply."""

    def choose(self, seat: Seat) -> str:
        raise RuntimeError("no words")


def test_errors_are_counted_and_end_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(AGENTS, "mute", Mute)
    words = ["bench", "webshop", "--out", str(tmp_path), *SMALL, "--episodes", "3", "--scripted", "mute"]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "mute: 3 of 3 episodes ended in an error, the first with RuntimeError: no words" in printed
    assert "0 (+3 errors)" in printed
    (row,) = json.loads((tmp_path / "webshop.json").read_text())["rows"]
    assert (row["errors"], row["episodes"], row["success"]) == (3, 0, 0.0)


def test_the_table_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr(turngym.cli, "bench_webshop", raising=False)
    monkeypatch.delitem(sys.modules, "turngym.cli.bench_webshop", raising=False)
    monkeypatch.setitem(sys.modules, "turngym.benchmarks.webshop", None)
    monkeypatch.delattr(turngym.benchmarks, "webshop", raising=False)
    assert main(["bench", "webshop"]) == 2
    assert install_command("webshop") in capsys.readouterr().err
    assert main(["bench", "--help"]) == 0


def test_seeds_are_for_those_who_draw_and_repetition_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = bench(tmp_path, "--seeds", "0", "1", "2", "--scripted", "random", "oracle", "--episodes", "40")
    assert [(row["agent"], row["runs"]) for row in rows] == [("random", "3"), ("oracle", "1")]
    assert rows[0]["over_runs"] and not rows[1]["over_runs"] and rows[1]["episodes"] == "40"
    assert f"40 episodes a run of {rows[1]['instances']} distinct test goals" in capsys.readouterr().out


def test_runs_of_one_recipe_share_rows_and_read_what_they_were_trained_on(runs: Sequence[Path], tmp_path: Path) -> None:
    words = [word for run in runs for word in ("--agent", str(run))]
    rows = bench(tmp_path, "--scripted", "oracle", "--episodes", "3", *words)
    assert [(row["agent"], row["runs"]) for row in rows] == [
        ("oracle", "1"),
        *((f"tiny, {who}, {how}", "2") for who in ("base", "trained") for how in ("sampled", "greedy")),
    ]
    assert all(float(row["tokens"]) > 0 for row in rows[1:])
    kept = json.loads((tmp_path / "webshop.json").read_text())
    keys = [entry["key"] for entry in kept["cells"] if entry["agent"] == "tiny, trained, greedy"]
    assert all(key["arguments"]["observation_mode"] == "compact" and key["turns"] == 15 for key in keys)
    assert len({key["agent"]["weights"] for key in keys}) == 2


def test_a_model_reads_by_every_protocol_what_it_was_trained_on(runs: Sequence[Path], tmp_path: Path) -> None:
    words = ["--scripted", "oracle", "--agent", str(runs[0]), "--decoding", "greedy", "--episodes", "2"]
    bench(tmp_path, *words, "--protocols", "gigpo")
    oracle, *models = json.loads((tmp_path / "webshop.json").read_text())["cells"]
    of_protocol = {"observation_mode": "quoted", "reward_scheme": "binary_x10", "show_actions": True, "history": 2}
    assert oracle["key"]["arguments"] == of_protocol
    read = {"observation_mode": "compact", "title_words": 4, "show_actions": False, "history": 0, "reasoning": False}
    assert len(models) == 2 and all(model["key"]["arguments"] == {**of_protocol, **read} for model in models)


def test_a_checkpoint_stands_for_itself_and_other_weights_are_played_anew(runs: Sequence[Path], tmp_path: Path) -> None:
    (checkpoint,) = sorted((runs[0] / "checkpoints").glob("step-*"))[-1:]
    copy, out = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(checkpoint / "policy", copy)
    options = ["--scripted", "--decoding", "greedy", "--episodes", "2"]
    assert [row["agent"] for row in bench(out, *options, "--agent", str(checkpoint))] == [
        f"tiny-seed0 {checkpoint.name}, greedy"]  # fmt: skip
    assert [row["agent"] for row in bench(out, *options, "--agent", f"a=b={copy}")] == ["a=b, greedy"]
    assert len(cells(out)) == 2, "the copy reads what the protocol shows, since nothing says what it was trained on"
    shutil.rmtree(copy)
    shutil.copytree(runs[1] / "base", copy)
    assert weights_digest(copy) != weights_digest(checkpoint / "policy")
    bench(out, *options, "--agent", f"a=b={copy}")
    assert len(cells(out)) == 3


def test_a_folder_may_have_an_equals_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "rate=1"
    folder.mkdir()
    words = ["bench", "webshop", "--out", str(tmp_path / "out"), *SMALL, "--scripted", "--agent", str(folder)]
    assert main(words) == 2
    assert str(folder) in capsys.readouterr().err


def test_runs_of_different_recipes_do_not_share_a_row_unless_told(
    runs: Sequence[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "tiny-seed7"
    shutil.copytree(runs[1], other)
    config = (other / "config.toml").read_text()
    (other / "config.toml").write_text(config.replace("\nsteps = 2\n", "\nsteps = 3\n"))
    words = ["bench", "webshop", "--out", str(tmp_path / "out"), *SMALL, "--scripted"]
    assert main([*words, "--agent", str(runs[0]), "--agent", str(other)]) == 2
    said = capsys.readouterr().err
    assert "would share the row 'tiny, base', but are not known to be runs of one recipe" in said
    assert f"--agent NAME={other}" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--protocols", "fix"], "--protocols takes one of fixed, faithful, gigpo, original, not 'fix'"),
        (["--protocols"], "--protocols needs a value"),
        (["--episodes", "0"], "--episodes must be above 0, got 0"),
        (["--seeds", "-1"], "--seed must be at least 0, got -1"),
        (["--num-products", "3"], "num_products must be 10 to 1,180,000, got 3"),
        (["--catalogue", "nowhere.sqlite"], "nowhere.sqlite"),
        (
            ["--catalogue", "a.sqlite", "--index", "b", "c"],
            "--index needs one for each --catalogue, 1 in the same order",
        ),
        (["--scripted", "shoper"], "there is no scripted agent 'shoper'; did you mean 'shopper'?"),
        (["--agent", "shoper"], "there is no agent 'shoper': neither random, rule, shopper"),
        (["--agent", "best=runs/none"], "there is no folder runs/none, the hub's cache"),
        (["--scripted"], "nobody plays: name scripted agents with --scripted, or others with --agent"),
        (["--env-kwargs", '{"url": "http://x"}'], "leave out url, and name a --catalogue"),
        (["--env-kwargs", '{"turns": 3}'], "WebShop takes no argument 'turns'"),
    ],
)
def test_tables_that_cannot_be_made(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "webshop", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
    assert sentence in captured.err and not list(tmp_path.iterdir())


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
