"""The front door: help, version, unknown commands, exit codes, and how little it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from turngym import __version__
from turngym._errors import WorkError
from turngym.cli import COMMANDS, doctor, main
from turngym.cli.errors import Failure, UsageError
from turngym.envs import MissingCapability, TextEnv, UnfitEnv

FORBIDDEN = ("torch", "transformers", "tyro", "matplotlib")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == main(["-h"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"turngym {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    captured = capsys.readouterr()
    assert f"turngym {command}" in captured.out and captured.err == ""


def test_an_unknown_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "turngym: there is no command 'trian'; did you mean 'train'?\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [("version", ": it is turngym --version"), ("-v", ": it is turngym --version"),
     ("verson", "; did you mean '--version'?"), ("--hlp", "; did you mean '--help'?"),
     ("qqqq", "; see turngym --help")],
)  # fmt: skip
def test_what_is_no_command_is_told_what_it_may_have_been(
    command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 2
    assert capsys.readouterr().err == f"turngym: there is no command {command!r}{said}\n"


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UsageError("no such thing"), 2, "turngym: no such thing\n"),
        (Failure("it broke"), 1, "turngym: it broke\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
)
def test_exit_codes(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(words: list[str]) -> int:
        raise raised

    monkeypatch.setattr("turngym.cli.doctor.run", run)
    assert main(["doctor"]) == code
    assert capsys.readouterr().err == said


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("turngym.cli.doctor.run", run)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_help_in_a_fresh_process_loads_nothing_heavy() -> None:
    code = f"import sys; from turngym.cli import main; main(['--help']); print({set(FORBIDDEN)} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("set()\n")


def test_python_dash_m_runs_the_command_line() -> None:
    command = [sys.executable, "-m", "turngym", "evaluate", "random", "--no-thing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("turngym: evaluate has no option --no-thing") and done.stderr.count("\n") == 1


def test_a_reader_that_leaves_causes_no_traceback() -> None:
    code = "import sys; from turngym.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", "FrozenLake", "--dry-run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    "error",
    [
        UnfitEnv("OddEnv says nothing of success"),
        MissingCapability(TextEnv, "oracle", needed_by="OracleAgent", otherwise="choose another agent"),
    ],
)
def test_what_an_environment_lacks_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(words: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(doctor, "run", run)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == f"turngym: {error}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(13, "Permission denied", "runs/mine"), 2, "turngym: runs/mine: Permission denied\n"),
        (WorkError("the logits are not finite"), 1, "turngym: the logits are not finite\n"),
        (OSError(28, "No space left on device"), 1, "turngym: the disk is full; make room and try again\n"),
    ],
)
def test_what_the_disk_refuses_and_what_fails_is_one_sentence(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(command: str, words: list[str]) -> int:
        raise error

    monkeypatch.setattr("turngym.cli._dispatch", refuse)
    assert main(["doctor"]) == code
    assert capsys.readouterr().err == said


def test_help_that_nobody_reads_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "turngym", "rollout", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
