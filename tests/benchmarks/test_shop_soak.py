"""The soak of the shop's site: a line a minute, and a last one that says whether it held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turngym.benchmarks.shop_soak import Options, soak, summary


def test_every_minute_is_a_line(tmp_path: Path) -> None:
    log = tmp_path / "soak.jsonl"
    last = soak(Options(log=log, minutes=2, rate=40, visitors=4, num_products=50, minute=1.0))
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [line.get("minute") for line in lines] == [1, 2, None] and lines[-1] == last
    assert last["requests"] == lines[1]["requests"] == 80 and last["errors"] == 0
    assert lines[0]["memory_mb"] > 10 and 0 < lines[0]["p50_ms"] <= lines[0]["longest_ms"]
    with pytest.raises(FileExistsError):
        soak(Options(log=log))


@pytest.mark.parametrize(
    ("memory", "errors", "passed"),
    [([100, 120, 130, 131], 0, True), ([100, 120, 130, 144], 0, False), ([100, 100, 100, 100], 1, False)],
)
def test_it_holds_without_errors_and_growth(memory: list[float], errors: int, passed: bool) -> None:
    lines = [{"requests": 1, "errors": errors, "memory_mb": each, "longest_ms": 2.0} for each in memory]
    assert summary(lines)["passed"] is passed
