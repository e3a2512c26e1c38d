"""Foreign text: spelled out where it could steer the terminal, and written whatever the encoding lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.cli import main
from turngym.cli.printable import printable, tell
from turngym.credentials import without_credentials

ESCAPE = "\x1b]0;x\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc é 雪", "a\nb\tc é 雪"),
        ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
        ("\x00\x07\x7f\x9b", "\\u{0}\\u{7}\\u{7f}\\u{9b}"),
        ("\u202eabc", "\\u{202e}abc"),
        ("\ud800", "\\u{d800}"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_printable_text_can_be_written_anywhere(text: str) -> None:
    shown = printable(text)
    assert shown.encode() and "\x1b" not in shown if text else shown == ""
    assert printable(shown) == shown


def test_messages_steer_no_terminal_and_tell_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    without_credentials("http://me:hunter22@h")
    tell(f"{ESCAPE} refuses hunter22 of http://me:hunter22@h")
    assert capsys.readouterr().err == "turngym: \\u{1b}]0;x\\u{7} refuses *** of http://h\n"


def test_warnings_of_other_code_steer_no_terminal_either(own_code: Path) -> None:
    Path("warner.py").write_text(f"import warnings\nwarnings.warn({ESCAPE!r})\n")
    command = [sys.executable, "-m", "turngym", "doctor", "--import", "warner", "--thing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "warning: \\u{1b}]0;x\\u{7} (UserWarning, " in done.stderr
    assert "warner.py line 2)" in done.stderr and "\x1b" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        [ESCAPE],
        ["play", ESCAPE],
        ["evaluate", ESCAPE],
        ["evaluate", "random", "--env", "FrozenLake", f"--{ESCAPE}", "3"],
        ["evaluate", "random", "--env", "FrozenLake", "--episodes", ESCAPE],
        ["rollout", "random", "FrozenLake", "--env-kwargs", json.dumps({ESCAPE: 3})],
        ["rollout", "random", "FrozenLake", "--env-kwargs", json.dumps({"view": ESCAPE})],
        ["train", "--preset", "hostile.toml"],
        ["train", "FrozenLake", "--import", ESCAPE],
        ["train", "FrozenLake", "--import", "hostile"],
        ["train", "--resume", ESCAPE],
        ["values", ESCAPE],
        ["webshop", "inspect", ESCAPE],
        ["webshop", "inspect", "items.jsonl"],
        ["webshop", "check", "items.jsonl"],
        ["webshop", ESCAPE],
        ["train", "--preset", "default.toml", "--help-all"],
        ["train", "--preset", "default.toml", "--help"],
        ["train", "--preset", "default.toml", "--dry-run"],
    ],
)  # fmt: skip
def test_no_command_passes_escape_sequences_on(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], own_code: Path
) -> None:
    Path("hostile.toml").write_text(f"[env]\nid = {json.dumps(ESCAPE)}\n")
    Path("default.toml").write_text(f'[env]\nid = "FrozenLake"\n[values]\nexplorer_models = {json.dumps([ESCAPE])}\n')
    Path("hostile.py").write_text(f"raise ValueError({ESCAPE!r})")
    Path("items.jsonl").write_text(json.dumps({"asin": ESCAPE, "name": ESCAPE, "category": ESCAPE}))
    main(words)
    told = capfd.readouterr()
    assert told.out + told.err and not set("\x1b\x07") & set(told.out + told.err)


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        (["webshop", "inspect"], "ascii"),
        (["webshop", "inspect"], "latin-1"),
        (["evaluate", "random", "--env", "FrozenLake", "--episodes", "2"], "ascii"),
        (["rollout", "hostile", "FrozenLake", "--episodes", "2"], "latin-1"),
        (["play", "FrozenLake", "--agent", "hostile"], "ascii"),
        (["play", "\u96ea"], "latin-1"),
        (["train", "FrozenLake", "--dry-run", "--run.name", "\u96ea"], "ascii"),
    ],
)
def test_no_encoding_stops_a_command(words: list[str], encoding: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "turngym", *words], cwd=tmp_path, capture_output=True, check=False,
                          env={**os.environ, "PYTHONIOENCODING": encoding})  # fmt: skip
    assert done.returncode == 2 * (words == ["play", "\u96ea"]) and b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode(encoding)
    if words[-1] == "\u96ea":
        assert b"\\u96ea" in done.stdout + done.stderr
