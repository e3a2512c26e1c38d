"""The benchmark of the search: two checkouts and an engine take turns, and must find and show the same."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from turngym._errors import InputError
from turngym.benchmarks import search_speed
from turngym.benchmarks.search_speed import Options, Race, main

ROOT = Path(__file__).parents[2]


def rows_of(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")][2:]


def test_a_checkout_is_compared_with_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_speed, "IN_MEMORY", 50)  # so that the larger one is on the disk
    options = Options(
        tmp_path / "work", against=ROOT, num_products=(50, 60), searches=8, episodes=4, turn=4, out=tmp_path / "page.md"
    )
    page = main(options)
    assert page == (tmp_path / "page.md").read_text()
    rows = rows_of(page)
    assert [row[:2] for row in rows] == [["50", "before"], ["50", "bm25"], ["60", "before"], ["60", "bm25"]]
    assert [bool(row[4]) for row in rows] == [False, False, True, True]  # an index in memory is not measured
    assert all(row[6].startswith("1.00 (1.00-1.00)") for row in rows if row[1] == "before")
    assert all(float(row[at].replace(",", "")) > 0 for row in rows for at in (5, 7))


@pytest.mark.skipif(find_spec("tantivy") is None, reason="needs tantivy: pip install tantivy")
def test_tantivy_searches_and_does_not_shop(tmp_path: Path) -> None:
    rows = rows_of(main(Options(tmp_path, num_products=(50,), engines=("bm25", "tantivy"), searches=4, episodes=2)))
    assert [row[1] for row in rows] == ["bm25", "tantivy"]
    assert rows[1][5] and not rows[1][7]


def test_ratios_are_of_rates_with_the_range_of_turns() -> None:
    race = Race()
    for ours, theirs in ((1.0, 2.0), (1.0, 4.0)):
        race.add("ours", ours, 10)
        race.add("theirs", theirs, 10)
    assert race.cells("ours", "theirs") == ["10", "3.00 (2.00-4.00)"]
    assert race.cells("theirs", "theirs") == ["3", "1.00 (1.00-1.00)"]
    assert race.cells("tantivy", "theirs") == ["", ""]


def test_who_finds_something_else_is_named() -> None:
    search_speed._check_alike({"before": [1], "bm25": [1]}, "find")
    with pytest.raises(RuntimeError, match="before and lucene do not find the same"):
        search_speed._check_alike({"before": [1], "bm25": [1], "lucene": [2]}, "find")


def test_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is no checkout of turngym: it has no folder src/turngym"):
        main(Options(tmp_path, against=tmp_path))
    monkeypatch.setattr(search_speed, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install tantivy"):
        main(Options(tmp_path, engines=("tantivy",)))
