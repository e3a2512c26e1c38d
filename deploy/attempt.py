"""One attempt at a run on a rented machine, under a hard cap on what all attempts cost.

The training is a process of its own (`deploy.worker`), so that its crash, or its being killed for memory, is seen here,
written down and paid for. Three things keep to the cap, each where the one before fails:

* the worker looks at the clock before every step, saves the very step and ends;
* at the end of its time it gets SIGTERM, upon which turngym does the same;
* half of the reserve later it is killed, and the last copy on the volume stands.

Time is booked on the volume before it is spent, so the record of a machine that disappears is too high by a minute, not
too low.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.job import Job
from deploy.ledger import Ledger
from deploy.mirror import Mirror
from deploy.worker import DONE, FAILED, OUT_OF_TIME, REFUSED
from turngym._durable import replacement
from turngym._errors import InputError
from turngym.cli.report import REPORT_FILE
from turngym.trainers.config import parse_toml
from turngym.trainers.launch.resuming import changes
from turngym.trainers.run_files import RESULT_FILE

COPY, LEDGER, CONFIG = "run", "spent.json", "job.toml"
"""What lies in the folder of a run on the volume: the copy of the run folder, what was spent, what was asked for."""
FINISHED, AT_THE_CAP, TIMED_OUT = "finished", "at the cap", "timed out"
ENDS = {REFUSED: "refused", FAILED: "failed"}
"""How an attempt ends after which another one would end alike."""
WORKER = ("-m", "deploy.worker")
"""What Python runs to train."""


class GoOn(RuntimeError):
    """The attempt has ended and the run has not; what is saved can be continued, and the service is to try again."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often things are done, in seconds."""

    beat: float = 30.0
    """Between two records of the time; three beats are booked in advance."""
    save: float = 60.0
    """Between two copies of the run folder."""
    look: float = 0.5
    """Between two looks at the training process."""
    grace: float = 20.0
    """For the step that the training is in, when the machine is taken away, which is announced half a minute before."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run stands after an attempt that need not be followed by another one."""

    end: str
    """"finished", "at the cap", "refused" or "failed"; the log says why."""
    dollars: float | None
    """What all attempts have cost, as far as that is recorded."""


def attempt(
    job: Job, volume: Path, work: Path, *, commit: Callable[[], None] = lambda: None, pace: Pace | None = None
) -> Outcome:
    """Begin or continue a run, and keep it on the volume.

    Args:
        job: The run and its budget.
        volume: A folder that stays; the run has a folder of its name in it.
        work: A folder of this machine.
        commit: Makes what was written to the volume stay.
        pace: How often things are done.

    Raises:
        GoOn: The attempt has reached its longest time, or the training process crashed.
    """
    place = volume / job.name
    place.mkdir(parents=True, exist_ok=True)
    try:
        ledger = Ledger(place / LEDGER)
        other = _other_job(job, place)
    except InputError as error:
        print(f"turngym: {error}", flush=True)
        return Outcome(end=ENDS[REFUSED], dollars=None)
    seconds = job.seconds_left(ledger.dollars)
    if other:
        print(f"turngym: the run {job.name} was begun with other settings ({other}): give this one another --run.name")
    complete = all((place / COPY / name).is_file() for name in (RESULT_FILE, REPORT_FILE))  # the report comes last
    if other or seconds <= job.shortest or complete:
        end = ENDS[REFUSED] if other else AT_THE_CAP if seconds <= job.shortest else FINISHED
        ledger.begin(job.price, job.start)
        ledger.book(job.start, end)
        commit()
    else:
        end = _Attempt(job, work / job.name, ledger, commit, pace or Pace()).run(seconds)
    print(f"{job.name}: {end}; ${ledger.dollars:.2f} of ${job.max_dollars:g} spent, "
          f"{len(ledger.attempts)} attempts", flush=True)  # fmt: skip
    if end not in (FINISHED, AT_THE_CAP, *ENDS.values()):
        raise GoOn(f"{job.name}: {end}; what is saved can be continued")
    return Outcome(end=end, dollars=ledger.dollars)


def _other_job(job: Job, place: Path) -> str:
    """Return in what a run of this name was begun otherwise; keep what is asked for if it was not begun."""
    path = place / CONFIG
    if not path.is_file():
        with replacement(path) as unfinished:
            unfinished.write_text(job.config, encoding="utf-8")
    before = parse_toml(path.read_text(encoding="utf-8"), source=str(path))
    asked = parse_toml(job.config, source="the job")
    return ", ".join(f"{name} {old!r}, now {new!r}" for name, (old, new) in changes(before, asked).items())


class _Attempt:
    """The training process, its clock, its record and its copy."""

    def __init__(self, job: Job, run: Path, ledger: Ledger, commit: Callable[[], None], pace: Pace) -> None:
        self._job, self._run, self._place = job, run, ledger.path.parent
        self._ledger, self._commit, self._pace = ledger, commit, pace
        self._writing = threading.Lock()  # a volume is committed while no file on it is open
        self._mirror = Mirror(run, self._place / COPY, self._writing)
        self._began = time.monotonic() - job.start
        self._booked = job.start + 3 * pace.beat
        self._out_of_time = self._unrecorded = False

    def run(self, left: float) -> str:
        """Train for as many seconds as are left, and no longer than an attempt may be; return how it ended."""
        seconds = min(left, self._job.attempt_seconds)
        end = "broken off"
        self._ledger.begin(self._job.price, self._booked)
        self._commit()
        try:
            with self._records():
                try:
                    self._mirror.restore()
                    code = self._train(self._began + seconds - self._job.reserve)
                finally:
                    self._mirror.save()
            end = self._meaning(code)
            if end == AT_THE_CAP and seconds < left:
                end = TIMED_OUT
        finally:
            self._ledger.book(self._seconds, end)
            self._commit()
        return end

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _meaning(self, code: int) -> str:
        if code == DONE or (self._run / RESULT_FILE).is_file():
            return FINISHED
        if self._out_of_time or code == OUT_OF_TIME:
            return AT_THE_CAP
        return ENDS.get(code, f"broken off with exit code {code}")

    # The training process ---------------------------------------------------------------------------------------

    def _train(self, end: float) -> int:
        """Run the training process to its end, or to the end of its time, and return its exit code."""
        with self._process(end) as process:
            timers = [
                threading.Timer(end - time.monotonic(), self._stop, (process,)),
                threading.Timer(end + self._job.reserve / 2 - time.monotonic(), process.kill),
            ]
            for timer in timers:
                timer.daemon = True
                timer.start()
            try:
                self._watch(process)
            finally:
                for timer in timers:
                    timer.cancel()
            return int(process.returncode)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Copy the run now and then until the process has ended."""
        copied = time.monotonic()
        while process.poll() is None:
            if time.monotonic() - copied >= self._pace.save:
                try:
                    self._mirror.save()
                except (OSError, sqlite3.Error) as error:
                    print(f"turngym: the copy on the volume is of earlier: {error}", flush=True)
                copied = time.monotonic()
            if self._unrecorded and self._seconds > self._booked:
                print("turngym: the volume takes no record of the time any more, so none is spent", flush=True)
                process.terminate()
                process.wait()
            time.sleep(self._pace.look)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        self._out_of_time = True
        process.terminate()

    @contextmanager
    def _process(self, end: float) -> Iterator[subprocess.Popen[bytes]]:
        """Start the training process; whatever ends the block, it saves its step if it can and ends too."""
        above = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [above, os.environ.get("PYTHONPATH")]))
        # In a group of its own, since a signal to this one is passed on below, and a second one would break off the
        # saving. Its standard input is a pipe that closes when this process is killed.
        process = subprocess.Popen(
            [sys.executable, *WORKER, str(self._place / CONFIG), str(self._run), str(end)],
            stdin=subprocess.PIPE, start_new_session=True, env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(self._pace.grace)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdin is not None:
                process.stdin.close()

    # The record -------------------------------------------------------------------------------------------------

    @contextmanager
    def _records(self) -> Iterator[None]:
        """Book the time in advance, again and again, while the block runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._pace.beat):
                ahead = self._seconds + 3 * self._pace.beat
                try:
                    with self._writing:
                        self._ledger.book(ahead)
                        self._commit()
                except Exception as error:  # noqa: BLE001 - of whatever kind the client of the volume raises
                    self._unrecorded = True
                    print(f"turngym: the time was not recorded: {error}", flush=True)
                else:
                    self._booked, self._unrecorded = ahead, False

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
