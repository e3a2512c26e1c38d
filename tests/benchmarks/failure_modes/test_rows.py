from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from turngym.benchmarks.failure_modes.rows import measured
from turngym.benchmarks.page import append_rows, read_rows


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    seed: int
    share: float


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.csv"
    assert read_rows(path, Line) == []
    rows = [Line(name="a, b", seed=0, share=0.5), Line(name="c", seed=1, share=0.25)]
    append_rows(path, rows[:1], Line)
    append_rows(path, rows[1:], Line)
    assert read_rows(path, Line) == rows
    append_rows(path, [Line(name="d", seed=2, share=math.nan)], Line)
    assert math.isnan(read_rows(path, Line)[-1].share)
    assert path.read_text().startswith("name,seed,share\n") and path.read_text().count("name") == 1


def test_what_the_file_holds_is_not_measured_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def measure(seed: int) -> list[Line]:
        asked.append(seed)
        return [Line(name="a", seed=seed, share=seed / 4)]

    path = tmp_path / "rows.csv"
    for wanted in ([0, 1], [2, 1], [2]):
        rows = measured(path, Line, wanted, measure, lambda row: row.seed)
        assert sorted(row.seed for row in rows) == sorted(wanted)
    assert asked == [0, 1, 2]
