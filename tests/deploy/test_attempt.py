"""Attempts under the cap, with programs that only pretend to train: how they end, what they cost and leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from deploy import attempt as attempting
from deploy.attempt import AT_THE_CAP, FINISHED, GoOn, Outcome, Pace, attempt
from deploy.job import Job

PACE = Pace(beat=0.2, save=0.1, look=0.02, grace=5.0)
ROOT = Path(__file__).parents[2]
BEGIN = """
import json, os, signal, sys, time
from pathlib import Path
config, run, end = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
steps = int((run / "step").read_text()) if (run / "step").exists() else 0
run.mkdir(parents=True, exist_ok=True)
(run / "config.toml").write_bytes(config.read_bytes())
(run / "pid").write_text(str(os.getpid()))
def step():
    global steps
    steps += 1
    (run / "step").write_text(str(steps))
"""
Pretend = Callable[[str], None]
Rent = Callable[..., Outcome]


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Return a function that sets the program which is run in place of the training."""

    def install(text: str) -> None:
        (tmp_path / "program.py").write_text(BEGIN + textwrap.dedent(text))
        monkeypatch.setattr(attempting, "WORKER", (str(tmp_path / "program.py"),))

    return install


@pytest.fixture
def rent(job: Job, tmp_path: Path) -> Rent:
    """Return a function that makes an attempt on a machine of its own."""
    made: list[Path] = []

    def make(*, pace: Pace = PACE, commit: Callable[[], None] = lambda: None, **changed: Any) -> Outcome:
        made.append(tmp_path / f"machine-{len(made)}")
        return attempt(replace(job, **changed), tmp_path / "volume", made[-1], commit=commit, pace=pace)

    return make


def ledger(tmp_path: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads((tmp_path / "volume" / "rented" / "spent.json").read_text())
    return lines


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def steps(tmp_path: Path) -> int:
    return int((tmp_path / "volume" / "rented" / "run" / "step").read_text())


def test_a_run_that_ends_well_costs_its_time_and_the_start(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("step(); time.sleep(0.5); (run / 'result.json').write_text('{}')")
    before = time.monotonic()
    outcome = rent()
    lasted = time.monotonic() - before
    (line,) = ledger(tmp_path)
    assert outcome == Outcome(end=FINISHED, dollars=line["seconds"]) and line["end"] == FINISHED
    assert 10.5 <= line["seconds"] <= 10.0 + lasted
    assert steps(tmp_path) == 1


def test_the_next_attempt_goes_on_where_the_last_one_ended(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("step(); step(); os._exit(70)")
    with pytest.raises(GoOn, match="rented: broken off with exit code 70; what is saved can be continued"):
        rent()
    pretend("step(); (run / 'result.json').write_text('{}')")
    assert rent().end == FINISHED and steps(tmp_path) == 3
    assert [line["end"] for line in ledger(tmp_path)] == ["broken off with exit code 70", FINISHED]


def test_a_run_that_is_finished_is_not_trained_again(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("step(); [(run / name).write_text('{}') for name in ('result.json', 'report.html')]")
    rent()
    pretend("raise SystemExit(70)")
    assert rent().end == FINISHED and steps(tmp_path) == 1
    assert ledger(tmp_path)[1]["seconds"] == 10.0, "the container that was started for nothing is paid for too"


def test_a_run_that_was_killed_before_its_report_goes_on(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("step(); (run / 'result.json').write_text('{}')")
    rent()
    pretend("step(); (run / 'report.html').write_text('')")
    assert rent().end == FINISHED and steps(tmp_path) == 2


@pytest.mark.parametrize(("code", "end"), [(1, "failed"), (2, "refused")])
def test_what_would_end_alike_is_not_tried_again(code: int, end: str, pretend: Pretend, rent: Rent) -> None:
    pretend(f"raise SystemExit({code})")
    assert rent().end == end


def test_a_process_that_is_killed_for_memory_is_tried_again(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("step(); os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(GoOn, match="exit code -9"):
        rent()
    assert steps(tmp_path) == 1


# The cap ----------------------------------------------------------------------------------------------------------


def test_a_process_that_stops_for_the_clock_leaves_the_run_at_the_cap(
    pretend: Pretend, rent: Rent, tmp_path: Path
) -> None:
    pretend("step(); raise SystemExit(75)")
    outcome = rent(max_dollars=25.0)
    assert outcome.end == AT_THE_CAP and outcome.dollars is not None and 10.0 < outcome.dollars < 25.0
    assert rent(max_dollars=25.0).end == AT_THE_CAP, "18 seconds are needed to start and save, and fewer are left"
    assert steps(tmp_path) == 1
    pretend("step(); (run / 'result.json').write_text('{}')")
    assert rent(max_dollars=50.0).end == FINISHED and steps(tmp_path) == 2


def test_a_process_that_overlooks_its_end_gets_a_signal_and_saves(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("""
        def save(*_):
            step()
            raise SystemExit(143)
        signal.signal(signal.SIGTERM, save)
        time.sleep(60)
    """)
    outcome = rent(max_dollars=13.0, start=10.0, reserve=1.2)
    assert outcome.end == AT_THE_CAP and steps(tmp_path) == 1
    assert outcome.dollars is not None and 11.8 <= outcome.dollars <= 13.0


def test_a_process_that_does_not_end_is_killed_before_the_cap(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        step()
        while True:
            time.sleep(60)
    """)
    outcome = rent(max_dollars=15.0, start=10.0, reserve=2.0)
    assert outcome.end == AT_THE_CAP and steps(tmp_path) == 1
    assert outcome.dollars is not None and 14.0 <= outcome.dollars <= 15.0


def test_the_longest_time_of_an_attempt_is_no_end_of_the_run(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("step(); raise SystemExit(75)")
    with pytest.raises(GoOn, match="rented: timed out; what is saved can be continued"):
        rent(attempt_seconds=30.0)
    assert ledger(tmp_path)[0]["end"] == "timed out"


def test_the_end_that_the_process_is_told_leaves_the_reserve(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("(run / 'left').write_text(str(end - time.monotonic())); raise SystemExit(75)")
    rent(max_dollars=100.0)
    left = float((tmp_path / "volume" / "rented" / "run" / "left").read_text())
    assert 100.0 - 10.0 - 4.0 - 5.0 < left <= 100.0 - 10.0 - 4.0


# The record -------------------------------------------------------------------------------------------------------


def test_time_is_booked_before_it_is_spent(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    """Seen at every commit: three beats ahead of the clock."""
    pretend("step(); time.sleep(1); (run / 'result.json').write_text('{}')")
    began, seen = time.monotonic(), list[tuple[float, float, str]]()

    def commit() -> None:
        line = ledger(tmp_path)[-1]
        seen.append((time.monotonic() - began, line["seconds"], line["end"]))

    rent(commit=commit)
    assert len(seen) >= 4 and seen[-1][2] == FINISHED
    assert all(10.0 + now <= booked for now, booked, end in seen if not end)
    assert seen[0][1] == pytest.approx(10.6), "the first seconds too"


def test_nothing_is_begun_where_nothing_can_be_recorded(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("step()")

    def refuse() -> None:
        raise RuntimeError("the volume is gone")

    with pytest.raises(RuntimeError, match="the volume is gone"):
        rent(commit=refuse)
    assert not (tmp_path / "volume" / "rented" / "run").exists()


def test_training_stops_when_its_time_cannot_be_recorded_any_more(
    pretend: Pretend, rent: Rent, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend("""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        while True:
            step()
            time.sleep(0.05)
    """)

    def failing() -> None:
        pid = tmp_path / "machine-0" / "rented" / "pid"
        if pid.exists() and is_alive(int(pid.read_text() or 0)):
            raise RuntimeError("the volume is gone")

    with pytest.raises(GoOn, match="exit code 143"):
        rent(commit=failing)
    said = capfd.readouterr().out
    assert said.count("the time was not recorded: the volume is gone") >= 1
    assert "the volume takes no record of the time any more, so none is spent" in said
    assert ledger(tmp_path)[0]["seconds"] < 20.0


def test_a_damaged_record_is_refused(pretend: Pretend, rent: Rent, tmp_path: Path) -> None:
    pretend("step()")
    place = tmp_path / "volume" / "rented"
    place.mkdir(parents=True)
    (place / "spent.json").write_text("[")
    assert rent() == Outcome(end="refused", dollars=None)
    assert not (place / "run").exists()


def test_another_configuration_under_the_same_name_is_refused(
    pretend: Pretend, rent: Rent, job: Job, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend("step(); raise SystemExit(75)")
    rent(max_dollars=100.0)
    other = job.config.replace("steps = 4\n", "steps = 5\n")
    assert other != job.config and rent(config=other).end == "refused"
    assert (
        "begun with other settings (learning.steps 4, now 5): give this one another --run.name"
        in capfd.readouterr().out
    )
    assert steps(tmp_path) == 1


# Machines that are taken away -------------------------------------------------------------------------------------


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_passed_on_saved_recorded_and_raised(
    interruption: type[BaseException], pretend: Pretend, rent: Rent, tmp_path: Path
) -> None:
    """As the service raises one in the main thread when it needs the machine, or when the user cancels."""
    pretend("""
        def save(*_):
            step()
            raise SystemExit(143)
        signal.signal(signal.SIGTERM, save)
        (run / "ready").touch()
        time.sleep(60)
    """)

    def interrupt(*_: object) -> None:
        raise interruption

    def alarm() -> None:
        while not (tmp_path / "volume" / "rented" / "run" / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Thread(target=alarm, daemon=True).start()
        with pytest.raises(interruption):
            rent()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert steps(tmp_path) == 1 and ledger(tmp_path)[0]["end"] == "broken off"


PROGRAM = """
import json, sys
from pathlib import Path
from deploy import attempt
from deploy.job import Job
attempt.WORKER = (sys.argv[1],)
attempt.attempt(Job(**json.loads(sys.argv[2])), Path(sys.argv[3]), Path(sys.argv[4]),
                pace=attempt.Pace(beat=0.2, save=0.1, look=0.02, grace=5.0))
"""


def test_when_the_process_above_is_killed_its_time_is_on_record_and_the_copy_stands(
    pretend: Pretend, rent: Rent, job: Job, tmp_path: Path
) -> None:
    pretend("""
        import threading
        threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
        while True:
            step()
            time.sleep(0.05)
    """)
    above = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "program.py"), json.dumps(asdict(job)), str(tmp_path / "volume"),
         str(tmp_path / "machine")],
        cwd=ROOT,
    )  # fmt: skip
    copy = tmp_path / "volume" / "rented" / "run"
    while not (copy / "step").exists() or not (copy / "pid").exists():
        assert above.poll() is None
        time.sleep(0.02)
    above.kill()
    above.wait()
    below = int((copy / "pid").read_text())
    for _ in range(600):  # it notices that nobody is above it any more
        if not is_alive(below):
            break
        time.sleep(0.05)
    assert not is_alive(below)
    (line,) = ledger(tmp_path)
    assert line["end"] == "" and line["seconds"] >= 10.6
    left = steps(tmp_path)
    pretend("step(); (run / 'result.json').write_text('{}')")
    assert rent().end == FINISHED and steps(tmp_path) == left + 1
