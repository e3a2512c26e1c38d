"""Every program and every command of README.md: what takes seconds is run, what takes minutes is checked."""

from __future__ import annotations

import builtins
import contextlib
import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from tests.cli.tiny_run import TINY
from tests.docs.blocks import ROOT, blocks, commands, shell_lines

import turngym
from turngym.cli import main

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
PLAY, TRAIN, OWN = blocks(README, "python")
RUN = "runs/frozen_lake-seed0"


def execute(program: str) -> tuple[str, dict[str, Any]]:
    """Run a program of the README; return what it prints, and its names."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(program, "README.md", "exec", dont_inherit=True), names)  # noqa: S102 - a page of this repository
    return said.getvalue(), names


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run that has the name of the README's, and the configuration of it."""
    folder = tmp_path_factory.mktemp("readme")
    with contextlib.chdir(folder):
        Path("tiny.toml").write_text(TINY)
        assert main(["train", "FrozenLake", "--preset", "tiny.toml", "--run.name", "frozen_lake-seed0"]) == 0
        assert Path(RUN, "result.json").is_file()
        yield folder


def test_the_readme_is_short() -> None:
    assert len(TEXT.splitlines()) <= 130


def test_playing(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = iter(["jump", *["left", "up", "right", "down"] * 5])
    monkeypatch.setattr(builtins, "input", lambda _: next(replies))
    _, names = execute(PLAY)
    assert names["over"] and names["observation"]
    names["env"].reset(options={"split": "test", "index": 7})
    assert "Reply with the action alone." in names["env"].unwrapped.instructions


def test_training_from_python(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = turngym.train

    def shortened(env: str, **settings: Any) -> Any:
        assert settings["learning"] == {"steps": 60}
        return real(env, preset="tiny.toml", **(settings | {"learning": {"steps": 1}}))

    monkeypatch.chdir(tiny)
    monkeypatch.setattr(turngym, "train", shortened, raising=False)
    printed, names = execute(TRAIN)
    assert "trained, sampled" in printed and names["result"].config.objective.name == "astarpo_turn"
    episodes = turngym.agents.collect_episodes(
        names["agent"], "turngym/FrozenLake-v0", turngym.agents.instance_range("test", 2), env_kwargs={"size": 2}
    )
    assert [episode.error for episode in episodes] == ["", ""]


def test_an_environment_of_ones_own(own_code: Path) -> None:
    printed, _ = execute(OWN)
    assert printed.startswith("no oracle:")
    code = OWN.partition("class ")[2].partition("\n\nregister(")[0].splitlines()
    assert len([line for line in code if line.strip()]) <= 20


@pytest.mark.parametrize("words", commands(README), ids=" ".join)
def test_commands(
    words: list[str], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tiny)
    more: list[str] = []
    if words[0] == "train" and "--resume" not in words:
        monkeypatch.chdir(tmp_path)
        more = ["--dry-run"]
    elif words[0] == "evaluate":
        more = ["--episodes", "2"]
    elif words[0] == "play":
        more = ["--env-kwargs", '{"size": 2}']
    elif words[0] == "view":  # which would wait
        more = ["--out", str(tmp_path / "runs.html")]
    assert main([*words, *more]) == 0, capsys.readouterr().err


def test_every_kind_of_command_is_among_them() -> None:
    assert {words[0] for words in commands(README)} == {"train", "evaluate", "play", "view", "doctor"}


def test_what_make_would_do() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for words in shell_lines(README):
        if words[0] == "make":
            done = subprocess.run(["make", "-n", words[1]], cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_what_is_installed_exists() -> None:
    extras = ConfigParser()
    extras.read(ROOT / "setup.cfg", encoding="utf-8")
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    installed = [word for words in shell_lines(README) if words[0] == "pip" for word in words[2:]]
    named = re.findall(r"[\w]+", "".join(re.findall(r"\[(.*?)\]", " ".join(installed))))
    assert named and {*named} <= {*extras["options.extras_require"]}
    assert [word for word in installed if "==" in word and word not in pins] == []
    assert (ROOT / "docs" / "webshop_replay.png").is_file() and "docs/webshop_replay.png" in TEXT
