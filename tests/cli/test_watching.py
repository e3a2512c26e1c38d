"""A command that is killed says so, and one that ends by itself says nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from turngym.cli import main

GAME = """
import os, signal
from tests.agents.hosting.faulty import FaultyStairs, register_faulty
register_faulty()
"""


@pytest.fixture
def stairs_module(tmp_path: Path) -> Path:
    (tmp_path / "stairs_module.py").write_text(GAME, encoding="utf-8")
    return tmp_path


def turngym(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, "-m", "turngym", *words, "--import", "stairs_module"], cwd=folder, text=True,
                          capture_output=True, check=False, env={**os.environ, "PYTHONPATH": path})  # fmt: skip


def test_a_command_that_is_killed_says_so(stairs_module: Path) -> None:
    kwargs = '{"fault": "kill", "rate": 5}'
    done = turngym(stairs_module, "evaluate", "random", "--env", "faulty/Stairs-v0", "--env-kwargs", kwargs,
                   "--episodes", "20")  # fmt: skip
    assert done.returncode == -9
    assert done.stderr.startswith("turngym: the process was killed before its work was done")
    assert "--isolate 1" in done.stderr and done.stderr.count("\n") == 1
    survived = turngym(stairs_module, "rollout", "random", "faulty/Stairs-v0", "--env-kwargs", kwargs, "--episodes",
                       "20", "--isolate", "1")  # fmt: skip
    assert survived.returncode == 1 and "16 (+4 errors)" in survived.stdout, "the errors are counted"
    assert len((stairs_module / "episodes.jsonl").read_text().splitlines()) == 20 and not survived.stderr


def test_a_command_that_ends_by_itself_says_nothing_more(stairs_module: Path) -> None:
    good = turngym(stairs_module, "evaluate", "oracle", "--env", "faulty/Stairs-v0", "--episodes", "3")
    assert (good.returncode, good.stderr) == (0, "")
    bad = turngym(stairs_module, "evaluate", "nobody", "--env", "faulty/Stairs-v0")
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "raise SystemExit(3)", "import os; os._exit(0)"])
def test_code_that_ends_the_program_is_a_failure(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("turngym.cli._load", lambda modules: exec(code))  # noqa: S102 - ours
    assert main(["evaluate", "random", "--env", "FrozenLake"]) == 1
    assert capsys.readouterr().err.startswith("turngym: the work was ended by other code, ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--step-timeout", "0"), "--step-timeout must be above 0, or inf to wait for ever, got 0"),
        (("--isolate", "-1"), "--isolate must be in [0, 1024], got -1"),
    ],
)
def test_limits_out_of_range(words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "random", "--env", "FrozenLake", "--episodes", "2", *words]) == 2
    assert capsys.readouterr().err == f"turngym: {sentence}\n"
