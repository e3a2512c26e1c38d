"""The numbers of a run stay in step with its checkpoints, and survive a crash."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from turngym.trainers.reporting.metrics import Metrics


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    written = Metrics(tmp_path / "metrics.jsonl")
    written.add("warm_start", {"step": 20, "seconds": 2.0})
    written.add("values", {"seconds": 1.5})
    written.add("values", {"seconds": 0.5})
    for step in (1, 2, 3):
        written.add("learning", {"step": step, "seconds": float(step)})
    return written


def steps(metrics: Metrics) -> list[int]:
    return [line["step"] for line in metrics.lines() if line["phase"] == "learning"]


def test_lines_come_back_in_order(metrics: Metrics) -> None:
    assert [line["phase"] for line in metrics.lines()] == ["warm_start", "values", "values"] + ["learning"] * 3
    assert metrics.lines()[0] == {"phase": "warm_start", "step": 20, "seconds": 2.0}
    assert Metrics(metrics.path).lines() == metrics.lines()


def test_seconds_are_summed_by_phase(metrics: Metrics) -> None:
    assert [metrics.seconds(phase) for phase in ("warm_start", "values", "learning", "test")] == [2.0, 2.0, 6.0, 0.0]


def test_rewinding_drops_later_steps_of_stage_two_alone(metrics: Metrics) -> None:
    metrics.rewind(2)
    assert steps(metrics) == [1, 2]
    metrics.rewind(0)
    assert [line["phase"] for line in metrics.lines()] == ["warm_start", "values", "values"]


def test_what_a_rollback_undid_stays_and_what_came_after_is_rewound(metrics: Metrics) -> None:
    metrics.add("alarm", {"step": 3, "alarm": "kl_tax", "rollbacks": 0})
    for step in (2, 3):  # back to step 1
        metrics.add("learning", {"step": step, "seconds": 1.0, "rollbacks": 1})
    metrics.add("alarm", {"step": 3, "alarm": "kl_tax", "rollbacks": 1})
    metrics.rewind()
    assert steps(metrics) == [1, 2, 3, 2, 3]
    metrics.rewind(2, 1)
    assert steps(metrics) == [1, 2, 3, 2]
    assert [line["rollbacks"] for line in metrics.lines() if line["phase"] == "alarm"] == [0]
    metrics.rewind(1, 1)
    assert steps(metrics) == [1, 2, 3]
    metrics.rewind(2, 0)  # the rollback itself is undone
    assert steps(metrics) == [1, 2]
    assert {line["phase"] for line in metrics.lines()} == {"warm_start", "values", "learning"}


def test_a_line_cut_off_by_a_crash_is_left_out_and_spoils_no_other(metrics: Metrics) -> None:
    whole = metrics.lines()
    with metrics.path.open("a") as file:
        file.write('{"phase": "learning", "st')
    assert metrics.lines() == whole
    metrics.rewind()
    metrics.add("learning", {"step": 4, "seconds": 1.0})
    assert steps(metrics) == [1, 2, 3, 4]


def test_what_is_no_line_of_metrics_is_left_out(metrics: Metrics) -> None:
    before = metrics.lines()
    with metrics.path.open("ab") as file:
        file.write(b'[]\n5\n{"step": 3}\n\xff\xfe\n' + b"[" * 5000 + b"\n")
    metrics.rewind()
    assert metrics.lines() == before


def test_nothing_is_written_before_the_first_line(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    assert metrics.lines() == []
    metrics.clear()
    assert not metrics.path.exists()


def test_clearing_forgets_everything(metrics: Metrics) -> None:
    metrics.clear()
    assert metrics.lines() == []


def test_lines_are_strict_json(metrics: Metrics) -> None:
    """Readers in other languages, and databases, take no NaN; here and there it is null."""
    metrics.add("values", {"value": math.nan, "levels": [{"success": math.inf}, {"success": np.float32(0.5)}]})
    metrics.rewind()
    assert json.loads(metrics.path.read_text().splitlines()[-1], parse_constant=pytest.fail) == metrics.lines()[-1]
    assert metrics.lines()[-1] == {"phase": "values", "value": None, "levels": [{"success": None}, {"success": 0.5}]}
