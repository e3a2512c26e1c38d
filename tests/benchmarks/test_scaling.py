"""The benchmark of growth: rows in processes of their own, compared with the work that they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from turngym.benchmarks import scaling
from turngym.benchmarks.scaling import MODELS, SMALLEST, Cost, Options, Size, main, rows_of, sizes


def test_tables_grow_in_one_thing_each() -> None:
    tables = sizes(Options())
    assert [round(size.millions, 1) for size in tables["Weights"]] == [0.2, 2.1, 22.5, 116.6]
    assert [size.tokens for size in tables["Tokens"]] == [500, 2000, 8000]
    assert [size.conversations for size in tables["Conversations"]] == [1, 4, 16, 64]
    assert sizes(Options(largest=3, longest=2000))["Weights"] == list(MODELS[:2])


def test_work_counts_matrix_products() -> None:
    size = Size(hidden_size=10, layers=2, vocabulary=100, tokens=50, conversations=1)
    reading, playing, learning = size.work()
    assert reading == 2 * 2600 + 80 * 25 and playing == 2 * 2600 + 80 * 50 + 2000
    assert learning == pytest.approx(3 * (reading + 200))


def test_a_row_is_compared_with_the_one_before() -> None:
    twice = Size(hidden_size=64, layers=8, vocabulary=512, tokens=500, conversations=4)
    first, second = rows_of([(SMALLEST, Cost(read=1e-5, play=2e-5, learn=3e-5, memory=5e6)),
                             (twice, Cost(read=3e-5, play=2e-5, learn=9e-5, memory=1e7))])  # fmt: skip
    assert first == ["0.2 M", "500", "4", "10", "", "20", "", "30", "", "5"]
    assert second[3:7] == ["30", "3.0 / 2.0", "20", "1.0 / 1.9"] and second[-1] == "10"


def test_a_tiny_run_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Size(hidden_size=32, layers=1, vocabulary=300, tokens=40, conversations=2)
    monkeypatch.setattr(scaling, "sizes", lambda _: {"Weights": [tiny]})
    out = tmp_path / "results" / "scaling.md"
    assert main(["--repeats", "1", "--out", str(out)]) == 0
    (row,) = [line.strip("| ").split(" | ") for line in out.read_text().splitlines() if line.startswith("| 0.0 M")]
    assert row[:3] == ["0.0 M", "40", "2"] and all(int(row[place]) > 0 for place in (3, 5, 7))
