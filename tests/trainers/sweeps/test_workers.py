"""Work in processes: order, failures, signals, and the end of the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.trainers.sweeps.tasks import add, fail, kill_itself, note, patient

from turngym.trainers.interrupt import Stopped
from turngym.trainers.sweeps import Work, Workers, cores


def test_results_come_back_and_what_is_needed_comes_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    works = [
        Work(name="run", call=note, arguments=(log, "run"), needs="base"),
        Work(name="base", call=note, arguments=(log, "base")),
        Work(name="sum", call=add, arguments=(2, 3), needs="done before"),
    ]
    with Workers(works, 2) as workers:
        ended = {done.work.name: done for done in workers}
    assert log.read_text() == "base run "
    assert {name: (done.exit_code, done.result) for name, done in ended.items()} == {
        "run": (0, "run"), "base": (0, "base"), "sum": (0, 5),
    }  # fmt: skip
    assert all(done.seconds > 0 for done in ended.values())


def test_a_failure_ends_what_needs_it_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    works = [
        Work(name="bad", call=fail),
        Work(name="waits", call=add, arguments=(1, 1), needs="bad"),
        Work(name="waits longer", call=add, arguments=(1, 1), needs="waits"),
        Work(name="killed", call=kill_itself),
        Work(name="good", call=add, arguments=(1, 1)),
    ]
    with Workers(works, 1) as workers:
        codes = {done.work.name: done.exit_code for done in workers}
    assert codes == {"bad": 3, "waits": None, "waits longer": None, "killed": -signal.SIGKILL, "good": 0}


def test_a_signal_is_passed_on_and_raised_when_all_have_ended(tmp_path: Path) -> None:
    works = [Work(name=name, call=patient, arguments=(tmp_path / name,)) for name in ("one", "two", "three")]
    begun: list[bool] = []

    def interrupt() -> None:
        if all((tmp_path / name).exists() for name in ("one", "two")) and not begun:
            begun.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as stopped, Workers(works, 2, interrupt) as workers:
        list(workers)
    assert stopped.value.number == signal.SIGTERM and not workers.running
    assert [(tmp_path / name).read_text() for name in ("one", "two")] == ["saved", "saved"]
    assert not (tmp_path / "three").exists()


def test_all_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from tests.trainers.sweeps.tasks import patient
from turngym.trainers.sweeps import Work, Workers
if __name__ == "__main__":
    with Workers([Work(name="one", call=patient, arguments=(Path(sys.argv[1]),))], 1) as workers:
        list(workers)
"""
    main, mark = tmp_path / "main.py", tmp_path / "mark"
    main.write_text(program)
    paths = os.pathsep.join(filter(None, sys.path))  # those of this process, for the modules of the tests
    with subprocess.Popen([sys.executable, str(main), str(mark)], env=os.environ | {"PYTHONPATH": paths}) as process:
        while not mark.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    for _ in range(600):
        if mark.read_text() == "saved":
            return
        time.sleep(0.05)
    raise AssertionError("the process outlived the one that started it")


def test_there_is_a_core() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
