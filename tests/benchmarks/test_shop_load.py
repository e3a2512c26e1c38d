"""The load on the shop's site: visitors buy, waits and memory are measured, and errors are told."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from turngym.benchmarks.shop_load import Options, Waits, crowd, main, row_of
from turngym.benchmarks.shop_visitors import AGENTS, PAGES, memory


def test_the_page_holds_waits_and_memory(tmp_path: Path) -> None:
    path = tmp_path / "load.md"
    page = main(Options(visitors=8, rate=80, seconds=1.5, sessions=20, long_sessions=8, pages=6, num_products=50,
                        flood=1100, slow=600, slow_seconds=8, outstanding=50, stops=1, machine="a machine",
                        out=path))  # fmt: skip
    assert page == path.read_text("utf-8") and page.count("Errors: 0.") == 2 and ", a machine." in page
    assert "8 sessions that look at 6 pages of results each" in page
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert [row[:2] for row in rows[2:5]] == [[PAGES, "60"], [AGENTS, "60"], ["all", "120"]]
    assert all(0 < float(row[2]) <= float(row[3]) <= float(row[4]) <= float(row[5]) for row in rows[2:5])
    assert [row[0] for row in rows[7:17]] == [f"{number}" for number in range(2, 21, 2)]
    assert all(float(row[1]) > 10 for row in rows[7:17])
    assert rows[19:22] == [["the client itself", "there", "1,023 times 201, 77 times 429"],
                           ["from elsewhere", "there", "201"], ["with the key", "there", "201"]]  # fmt: skip
    assert [row[0] for row in rows[24:26]] == ["the same client", "another client"]
    assert all(int(row[1]) > 10 and row[2] == "0" for row in rows[24:26])
    assert rows[28][:2] == ["1", "50 of 50"] and rows[28][3] == "0"


def test_a_site_that_is_not_there_is_an_error() -> None:
    waits: Waits = asyncio.run(crowd(1, Options(visitors=2, rate=40, seconds=0.2)))
    assert len(waits.errors) == 8 and "Connection" in waits.errors[0] and not waits.seconds[PAGES]


def test_waits_are_told_by_their_shares() -> None:
    assert row_of("x", [number / 1000 for number in range(1, 101)]) == ["x", "100", "51.0", "96.0", "100.0", "100.0"]
    assert row_of("x", []) == ["x", "0", "0.0", "0.0", "0.0", "0.0"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_is_read() -> None:
    assert 10 < memory(os.getpid()) < 100_000
