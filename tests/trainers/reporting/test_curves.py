"""Learning curves from the lines of a run's metrics."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turngym.trainers.reporting.curves import Curve, read_curve


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(1, 12))
def test_smoothing_stays_within_what_it_smooths(success: list[float], width: int) -> None:
    smoothed = Curve(list(range(len(success))), success).smoothed(width)
    assert len(smoothed) == len(success)
    assert all(min(success) - 1e-12 <= value <= max(success) + 1e-12 for value in smoothed)
    assert smoothed[:1] == success[:1]


def test_steps_that_a_rollback_undid_are_not_drawn() -> None:
    played = [(1, 0.1), (2, 0.2), (3, 0.0), (4, 0.0), (3, 0.3), (4, 0.4)]
    curve = read_curve({"phase": "learning", "step": step, "success": rate} for step, rate in played)
    assert (curve.steps, curve.success) == ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4])
    assert all(map(math.isnan, curve.tokens))


def test_seconds_are_those_of_both_stages_and_of_what_was_undone() -> None:
    lines: list[dict[str, Any]] = [
        {"phase": "warm_start", "seconds": 100.0, "success": 0.5},
        {"phase": "values", "seconds": 3.0},
        {"phase": "values", "seconds": 2.0},
        {"phase": "learning", "step": 1, "success": 0.1, "generated_tokens": 40, "seconds": 1.0},
        {"phase": "learning", "step": 2, "success": 0.2, "generated_tokens": 50, "seconds": 1.0},
        {"phase": "learning", "step": 2, "success": 0.3, "generated_tokens": 60, "seconds": 1.0},
    ]
    curve = read_curve(lines)
    assert (curve.steps, curve.tokens, curve.seconds) == ([1, 2], [40.0, 60.0], [6.0, 8.0])


def test_validation_stands_where_it_was_measured() -> None:
    lines: list[dict[str, Any]] = [
        {"phase": "learning", "step": step, "success": 0.1, **({"validation": step / 10} if step % 2 == 0 else {})}
        for step in range(1, 6)
    ]
    curve = read_curve(lines, number="validation")
    assert (curve.steps, curve.success) == ([2, 4], [0.2, 0.4])
