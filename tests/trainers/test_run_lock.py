"""One process at a time in a run folder: others are told who is there, and a killed holder locks nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from turngym.trainers.run_files import LOCK_FILE
from turngym.trainers.run_lock import RunInUse, check_unused, run_lock

HOLDER = """
import sys, time, pathlib
from turngym.trainers.run_lock import run_lock
with run_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_named_with_what_to_do(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    said = rf"{tmp_path} is in use by process {holder.pid} on host {socket.gethostname()} since \d{{4}}-.*--resume"
    with pytest.raises(RunInUse, match=said), run_lock(tmp_path):
        pytest.fail("two hold the lock")
    with pytest.raises(RunInUse, match=said):
        check_unused(tmp_path)


def test_a_killed_holder_locks_nothing(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == holder.pid
    check_unused(tmp_path)
    with run_lock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert (tmp_path / LOCK_FILE).read_text() == ""


def test_one_process_cannot_take_it_twice(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        with pytest.raises(RunInUse, match=f"process {os.getpid()}"), run_lock(tmp_path):
            pytest.fail("two hold the lock")
        with pytest.raises(RunInUse):  # nor did the attempt let go of it
            check_unused(tmp_path)
    check_unused(tmp_path)


def test_no_child_keeps_the_lock_of_a_parent_that_is_gone(tmp_path: Path) -> None:
    """Neither a forked process, as of environments that play aside, nor a program that was started."""
    reader, writer = os.pipe()
    with run_lock(tmp_path):
        child = os.fork()
        if not child:
            os.write(writer, b"begun")
            signal.pause()
        os.read(reader, 5)
        sleeping = [sys.executable, "-c", "import time; print(7, flush=True); time.sleep(600)"]
        program = subprocess.Popen(sleeping, stdout=subprocess.PIPE, close_fds=False)
        assert program.stdout is not None and program.stdout.readline() == b"7\n"
    try:
        check_unused(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        program.kill()
        program.communicate()
        os.close(reader)
        os.close(writer)


def test_a_forked_process_does_not_let_go_of_the_lock(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(RunInUse):
            check_unused(tmp_path)


def test_a_folder_that_nobody_has_written_to_is_unused(tmp_path: Path) -> None:
    check_unused(tmp_path)
    check_unused(tmp_path / "absent")
    assert not list(tmp_path.iterdir())


def test_a_holder_that_has_not_yet_said_who_it_is(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        for text in ("", "7", "{}", '{"pid": "x", "host": 1, "since": 2}'):
            (tmp_path / LOCK_FILE).write_text(text)
            with pytest.raises(RunInUse, match="in use by another process: wait"):
                check_unused(tmp_path)
