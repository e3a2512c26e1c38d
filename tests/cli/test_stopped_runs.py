"""Runs are safe from each other, from schedulers, from full disks and from edits: one sentence, and nothing lost."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.pretended import InstallTrainer, pretend

from turngym.cli import main
from turngym.trainers.interrupt import SIGNALS
from turngym.trainers.launch.run_folder import run_config, used_config
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.run_files import LOCK_FILE
from turngym.trainers.run_lock import run_lock

RUN = Path("runs/frozen_lake-seed0")
AGAIN = f"turngym train --resume {RUN}"


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# Two processes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", ["FrozenLake", f"--resume {RUN}"])
@pytest.mark.parametrize("end", ["", "--dry-run"])
def test_a_run_in_use_is_named(
    begin: str, end: str, trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    (RUN / "result.json").unlink()
    with run_lock(RUN):
        before = contents(RUN)
        assert main(["train", *f"{begin} {end}".split()]) == 2
        assert contents(RUN) == before
    said = f"turngym: {RUN} is in use by process {os.getpid()} on host {socket.gethostname()} since "
    assert said in capsys.readouterr().err and len(calls) == 1


def test_two_starts_at_once_make_one_run(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    """The second comes when the first has made the folder and written nothing yet."""
    calls = trainer(pretend)
    RUN.mkdir(parents=True)
    with run_lock(RUN):
        assert main(["train", "FrozenLake"]) == 2
        assert [path.name for path in RUN.iterdir()] == [LOCK_FILE]
    assert "is in use by process" in capsys.readouterr().err and not calls


def test_a_start_that_was_killed_at_once_does_not_keep_the_name(trainer: InstallTrainer) -> None:
    trainer(pretend)
    RUN.mkdir(parents=True)
    (RUN / LOCK_FILE).write_text('{"pid": 1, "host": "gone", "since": "2001"}')
    assert main(["train", "FrozenLake"]) == 0
    assert (RUN / "result.json").is_file() and (RUN / LOCK_FILE).read_text() == ""


def test_a_run_trains_under_its_lock(trainer: InstallTrainer) -> None:
    def train(config: Any, folder: Path, progress: Progress) -> dict[str, Any]:
        assert f'"pid": {os.getpid()}' in (folder / LOCK_FILE).read_text()
        assert main(["train", "--resume", str(folder)]) == 2
        return pretend(config, folder, progress)

    calls = trainer(train)
    assert main(["train", "FrozenLake"]) == 0
    assert main(["train", "--resume", str(RUN), "--learning.steps", "300"]) == 0
    assert calls == [False, True]


def test_a_dry_run_looks_at_the_folder(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(pretend)
    assert main(["train", "FrozenLake", "--dry-run"]) == 0
    RUN.mkdir(parents=True)
    (RUN / "notes.txt").touch()
    assert main(["train", "FrozenLake", "--dry-run"]) == 2
    assert f"{RUN} exists already; continue that run" in capsys.readouterr().err
    Path("file").touch()
    assert main(["train", "FrozenLake", "--dry-run", "--run.root", "file"]) == 2
    assert "file is no folder that can be written to" in capsys.readouterr().err


# Signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_run_with_the_way_to_go_on(
    number: signal.Signals, trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(config: Any, folder: Path, progress: Progress) -> dict[str, Any]:
        signal.raise_signal(number)
        raise AssertionError("the signal was not raised")

    trainer(stopped)
    before = [signal.getsignal(each) for each in SIGNALS]
    assert main(["train", "FrozenLake"]) == 128 + number
    assert capsys.readouterr().err == f"Stopped. Continue with: {AGAIN}\n"
    assert [signal.getsignal(each) for each in SIGNALS] == before


# The disk ---------------------------------------------------------------------------------------------------------


def refusing(error: Exception) -> Callable[..., dict[str, Any]]:
    def train(config: Any, folder: Path, progress: Progress) -> dict[str, Any]:
        raise error

    return train


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space", "x.jsonl"), "x.jsonl: the disk is full; make room and try again"),
        (Exception("No space left on device (os error 28)"), "the disk is full; make room and try again"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x: Read-only file system"),
    ],
)
def test_what_the_disk_refuses_is_a_sentence(
    error: Exception, sentence: str, trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(refusing(error))
    assert main(["train", "FrozenLake"]) == 1
    assert capsys.readouterr().err == f"turngym: {sentence}. What was saved is whole; continue with: {AGAIN}\n"


def test_an_error_of_the_program_is_no_sentence(trainer: InstallTrainer) -> None:
    trainer(refusing(ZeroDivisionError("a mistake of ours")))
    with pytest.raises(ZeroDivisionError):
        main(["train", "FrozenLake"])


def test_a_finished_run_is_shown_where_nothing_can_be_written(
    trainer: InstallTrainer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    capsys.readouterr()
    before = contents(RUN)
    write = Path.write_text

    def refuse(path: Path, *arguments: Any, **named: Any) -> int:
        if RUN in path.parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return write(path, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", refuse)
    assert main(["train", "--resume", str(RUN)]) == 0
    said = capsys.readouterr()
    assert "trained, greedy    0.800" in said.out and said.err == ""
    assert f"No report was written: {RUN}/report.html: Read-only file system" in said.out
    after = contents(RUN)
    assert {name: after[name] for name in before if name != "learning_curve.png"} == {
        name: text for name, text in before.items() if name != "learning_curve.png"
    }


# Edits ------------------------------------------------------------------------------------------------------------


def edit(old: str, new: str) -> None:
    """Change a line of the run's configuration by hand."""
    path = RUN / "config.toml"
    assert f"\n{old}\n" in path.read_text()
    path.write_text(path.read_text().replace(f"\n{old}\n", f"\n{new}\n"))


def test_an_edit_of_what_may_change_is_a_branch(trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    calls = trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    edit("steps = 100", "steps = 110")
    assert main(["train", "--resume", str(RUN)]) == 0
    assert "A new branch of the run: learning.steps 100 -> 110." in capsys.readouterr().out
    assert calls == [False, True] and used_config(RUN) == run_config(RUN)
    assert main(["train", "--resume", str(RUN)]) == 0
    assert "is complete" in capsys.readouterr().out and len(calls) == 2, "the edit is used up"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("seed = 0", "seed = 7", "cannot change run.seed from 0 to 7"),
        ("batch_size = 128", "batch_size = 64", "cannot change learning.batch_size from 128 to 64"),
        ("optimal_baseline = true", "optimal_baseline = false", "change objective.optimal_baseline from True to False"),
    ],
)
def test_an_edit_of_what_cannot_change_is_refused(
    old: str, new: str, sentence: str, trainer: InstallTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    (RUN / "result.json").unlink()
    edit(old, new)
    before = contents(RUN)
    assert main(["train", "--resume", str(RUN)]) == 2
    said = capsys.readouterr().err
    assert f"{sentence}, as {RUN}/config.toml was edited to: " in said and said.count("\n") == 1
    assert contents(RUN) == before and len(calls) == 1


def test_an_edit_of_what_touches_no_learning_is_taken(trainer: InstallTrainer) -> None:
    calls = trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    (RUN / "result.json").unlink()
    edit("checkpoint_every = 25", "checkpoint_every = 5")
    assert main(["train", "--resume", str(RUN)]) == 0
    used = used_config(RUN)
    assert used is not None and used.run.checkpoint_every == 5 and calls == [False, True]


def test_a_comment_is_no_edit(trainer: InstallTrainer) -> None:
    calls = trainer(pretend)
    assert main(["train", "FrozenLake"]) == 0
    (RUN / "result.json").unlink()
    edit("seed = 0", "seed = 0  # by chance")
    assert main(["train", "--resume", str(RUN)]) == 0
    assert calls == [False, True] and "by chance" in (RUN / "config.toml").read_text()
