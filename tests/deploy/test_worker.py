"""The cap as the training process keeps to it: it looks at the clock before every step, and saves where it stops."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deploy import worker
from deploy.job import Job
from deploy.worker import BROKEN, DONE, FAILED, OUT_OF_TIME, REFUSED, CappedProgress
from tests.deploy.conftest import STEPS, outcome

from turngym._errors import InputError
from turngym.trainers.config import TrainConfig, parse_toml
from turngym.trainers.monitoring.alarms import Alarm, AlarmError
from turngym.trainers.reporting.progress import SilentProgress


class Clock(SilentProgress):
    """Time that passes with the steps of stage 2: ten seconds each, and none elsewhere."""

    def __init__(self) -> None:
        self.now, self.name = 0.0, ""
        self.notes: list[str] = []

    def __call__(self) -> float:
        return self.now

    def phase(self, name: str, total: int | None) -> None:
        self.name = name

    def note(self, text: str) -> None:
        self.notes.append(text)


class Stepwise(CappedProgress):
    """Lets ten seconds pass before every report of a step of stage 2."""

    def __init__(self, clock: Clock, end: float) -> None:
        super().__init__(clock, end, clock)
        self.clock = clock

    def advance(self, n: int = 1, **numbers: float) -> None:
        if self.clock.name.startswith("stage 2") and numbers:
            self.clock.now += 10.0
        super().advance(n, **numbers)


@pytest.fixture
def config(job: Job) -> TrainConfig:
    return parse_toml(job.config, source="job")


def saved(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))


# The first checkpoint of its own the run would save at step 2, the next one at step 4.
@pytest.mark.parametrize(("end", "last"), [(20.0, 1), (39.0, 3)])
def test_the_last_step_is_the_last_that_ends_in_time_and_the_run_goes_on_as_if_alone(
    end: float, last: int, config: TrainConfig, alone: dict[str, Any], tmp_path: Path
) -> None:
    folder, before = tmp_path / "rented", signal.getsignal(signal.SIGTERM)
    progress = Stepwise(Clock(), end)
    assert worker.train(config, folder, progress) == OUT_OF_TIME
    assert progress.stopped and progress.clock.notes[-1] == "The time that is paid for ends: saving the run."
    assert progress.clock.now == 10.0 * last
    assert saved(folder)[-1] == last and not (folder / "result.json").exists()
    assert signal.getsignal(signal.SIGTERM) == before
    assert worker.train(config, folder, Stepwise(Clock(), 1e9)) == DONE
    assert outcome(folder) == alone


@pytest.mark.parametrize(
    ("seconds", "end", "reports"),
    [
        ([10, 10, 10, 10], 40.5, 4),
        ([10, 10, 10, 10], 40.0, 3),  # a fourth would end at the very end
        ([10, 10, 10, 10], 10.0, 1),
        ([10, 10, 10, 10], 5.0, 1),
        ([1, 1, 20, 1, 1], 43.0, 4),  # the longest counts, not the last
        ([30, 1, 1], 31.0, 1),
    ],
)
def test_it_stops_where_the_next_unit_could_end_too_late(
    seconds: list[float], end: float, reports: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, sent = Clock(), list[int]()
    monkeypatch.setattr(signal, "raise_signal", sent.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    progress = CappedProgress(clock, 100.0 + end, clock)
    progress.phase("stage 1: values", None)
    clock.now = 100.0  # of another phase
    progress.phase("stage 2: astarpo", 10)
    progress.advance(0)
    made = 0
    for each in seconds:
        clock.now += each
        progress.advance(success=0.5)
        made += 1
        if sent:
            break
    assert made == reports
    progress.advance()
    assert sent in ([], [signal.SIGTERM]), "once"


def test_no_step_is_taken_where_no_time_is_left(config: TrainConfig, alone: dict[str, Any], tmp_path: Path) -> None:
    """The clock is looked at before the first step too; what came before it is kept."""
    folder = tmp_path / "rented"
    clock = Clock()
    progress = CappedProgress(clock, 100.0, clock)
    original = clock.phase

    def late(name: str, total: int | None) -> None:
        original(name, total)
        clock.now = 100.0 if name.startswith("stage 2") else 0.0

    clock.phase = late  # type: ignore[method-assign]
    assert worker.train(config, folder, progress) == OUT_OF_TIME
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in lines} == {"warm_start", "values"} and not (folder / "checkpoints").exists()
    assert worker.train(config, folder, Stepwise(Clock(), 1e9)) == DONE
    assert outcome(folder) == alone


def test_a_second_signal_does_not_break_off_the_saving(config: TrainConfig, tmp_path: Path) -> None:
    """As of the process above, which sends one at the end of the time."""

    class Insisting(Stepwise):
        def advance(self, n: int = 1, **numbers: float) -> None:
            super().advance(n, **numbers)
            if self.stopped:
                signal.raise_signal(signal.SIGTERM)

    assert worker.train(config, tmp_path / "rented", Insisting(Clock(), 20.5)) == OUT_OF_TIME
    assert saved(tmp_path / "rented")[-1] == 2


def test_a_start_that_was_killed_at_once_is_begun_anew(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("turngym.trainers.launch.training.train", lambda _, **named: asked.append(named["resume"]))
    folder = tmp_path / "rented"
    folder.mkdir()
    for name in ("run.lock", "config.used.toml", ".config.toml.1f.tmp"):
        (folder / name).touch()
    progress = CappedProgress(SilentProgress(), 1e9)
    assert worker.train(config, folder, progress) == DONE
    assert list(folder.iterdir()) == []
    (folder / "config.toml").touch()
    worker.train(config, folder, progress)
    assert asked == [False, True]
    (folder / "config.toml").rename(folder / "values.sqlite")
    with pytest.raises(
        InputError, match=r"holds values\.sqlite and no config\.toml, so it is no run that can be continued"
    ):
        worker.train(config, folder, progress)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("no such thing"), REFUSED, "turngym: no such thing\n"),
        (AlarmError(Alarm), FAILED, "turngym: "),
        (ValueError("who knows"), BROKEN, "turngym: who knows\nTraceback"),
        (OSError(28, "No space", "x"), BROKEN, "turngym: x: the disk is full; make room and try again\nTraceback"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes_tell_whether_another_attempt_would_end_alike(
    error: BaseException, code: int, sentence: str, config: TrainConfig, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("turngym.trainers.launch.training.train", fail)
    assert worker.run(config, tmp_path / "rented", 1e9) == code
    assert capsys.readouterr().err.startswith(sentence)


def test_the_run_has_as_many_steps_as_these_tests_count_on(config: TrainConfig) -> None:
    assert config.learning.steps == STEPS and config.run.checkpoint_every == 2
    assert replace(config.run, root="runs") == config.run


def test_reports_are_passed_on() -> None:
    heard: list[object] = []

    class Hearing:
        def phase(self, name: str, total: int | None) -> None:
            heard.append((name, total))

        def advance(self, n: int = 1, **numbers: float) -> None:
            heard.append((n, numbers))

        def note(self, text: str) -> None:
            heard.append(text)

    progress = CappedProgress(Hearing(), 1e9)
    progress.phase("learning", 3)
    progress.advance(2, success=0.5)
    progress.note("well")
    assert heard == [("learning", 3), (2, {"success": 0.5}), "well"] and not progress.stopped
