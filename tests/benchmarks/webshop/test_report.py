"""The page, the figures and the record: all of one table, with the published block apart."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from tests.benchmarks.webshop.conftest import outcome, player

from turngym.benchmarks.cells import sentences
from turngym.benchmarks.webshop import Result, ShopOutcome, ShopRow, rows_of, write_report
from turngym.benchmarks.webshop.published import PUBLISHED, published_table
from turngym.benchmarks.webshop.report import HEADS, page, row_cells
from turngym.extras import install_command

MakeResult = Callable[..., Result]


@pytest.fixture
def results(result: MakeResult) -> list[Result]:
    weak, strong = result(0.5, 1.0, 0.0, who="random"), result(1.0, 1.0, 0.5, who="random", seed=1)
    return [weak, strong, result(1.0, 0.5, 1.0, who="shopper"), result(1.0, 1.0, 1.0),
            result(0.5, 0.5, 0.5, who="rule", protocol="gigpo")]  # fmt: skip


def test_all_files_hold_the_same_rows(tmp_path: Path, results: list[Result]) -> None:
    assert write_report(tmp_path, results, "turngym bench webshop") == []
    text = (tmp_path / "webshop.md").read_text()
    rows = rows_of(results)
    read = list(csv.DictReader(io.StringIO((tmp_path / "webshop.csv").read_text())))
    kept = json.loads((tmp_path / "webshop.json").read_text())
    assert len(rows) == len(read) == len(kept["rows"]) == 4
    for row, line, entry in zip(rows, read, kept["rows"], strict=True):
        assert ShopRow(**entry) == row
        assert set(line) == {part.name for part in fields(ShopRow)}
        for name, value in entry.items():
            assert line[name] == "" if value is None else line[name] == str(value) or (
                float(line[name]) == pytest.approx(value, abs=1e-6))  # fmt: skip
        assert f"| {' | '.join(row_cells(row))} |" in text
    assert (tmp_path / "webshop.png").read_bytes().startswith(b"\x89PNG")
    assert kept["ceilings"][0]["oracle"] == {"agent": "oracle", "success": 1.0}
    assert [entry["digest"] for entry in kept["cells"]] == [one.cell.digest for one in results]
    assert kept["published"][0]["model"] == PUBLISHED[0].model


def test_the_page_says_what_was_played_and_what_can_be_reached(results: list[Result]) -> None:
    text = page(results, "turngym bench webshop --seeds 0 1")
    assert "    turngym bench webshop --seeds 0 1\n" in text and "![Success of agents](webshop.png)" in text
    fixed, gigpo = text.partition("## generated, 60 products, gigpo")[::2]
    assert (
        "What can be reached: the oracle, which searches for the hidden title of the wanted product, has 1.000; "
        in fixed
    )
    assert "the best script that reads visible text alone has 0.667 (shopper)." in fixed
    assert "No ceiling was measured" in gigpo and "`turngym/WebShopGiGPO-v0`: 15 turns" in gigpo
    assert "60 products, " in fixed and "test goals" in fixed
    assert "| random | 0.500 |" in fixed and "| 2 | ± " in fixed
    assert "webshop.png" not in page(results, "x", picture=False)


def test_cells_have_a_place_for_each_head(results: list[Result]) -> None:
    shopper = row_cells(rows_of(results)[1])
    assert len(shopper) == len(HEADS)
    assert dict(zip(HEADS, shopper, strict=True)) | {"95% over goals": ""} == {
        "agent": "shopper", "success": "0.667", "95% over goals": "", "runs": "1", "95% over runs": "",
        "unseen products": "",
        "score": "0.833", "bought": "1.000", "type": "1.000", "attributes": "0.833", "options": "", "price": "1.000",
        "turns": "4.0", "tokens": "0.0", "invalid": "0.000", "cut": "0.000", "seconds": "2.0", "errors": "0",
        "goals": "3",
    }  # fmt: skip


def test_what_was_changed_and_what_failed_is_told(results: list[Result]) -> None:
    one = results[0]
    longer = replace(one, cell=replace(one.cell, stand=replace(one.cell.stand, extra={"max_episode_steps": 30})),
                     outcomes=[outcome(0, 1.0), ShopOutcome(instance=1, error="lost")])  # fmt: skip
    text = page([longer], "x")
    assert "Changed here: max_episode_steps = 30." in text
    assert sentences([longer]) == [
        "generated, 60 products, fixed, random: 1 of 2 episodes ended in an error, the first with lost."
    ]
    assert sentences([longer])[0] in text and sentences(results) == []


def test_names_cannot_break_the_table(results: list[Result]) -> None:
    odd = replace(results[0], cell=replace(results[0].cell, player=player("random", "a|b")))
    assert "| a\\|b | " in page([odd], "x")


def test_without_matplotlib_the_rest_is_written(
    tmp_path: Path, results: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (note,) = write_report(tmp_path, results, "x")
    assert install_command("plot") in note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["webshop.csv", "webshop.json", "webshop.md"]
    assert "webshop.png" not in (tmp_path / "webshop.md").read_text()


def test_published_figures_stand_in_a_block_of_their_own() -> None:
    text = published_table()
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(lines) == len(PUBLISHED) and "protocols differ" in text
    for row, line in zip(PUBLISHED, lines, strict=True):
        assert line.split(" | ")[3] == row.success and row.success[0] == "." and row.source in line
        assert row.known, "what is known of the split, if only that nothing is"
    figures = {(row.size, row.method): row.success for row in PUBLISHED}
    assert figures["1.5B", "GRPO"] == ".568" and figures["1.5B", "GiGPO"] == ".674"
    assert figures["7B", "DEPPO"] == ".843" and figures["1.5B", "VETTA"] == ".738 ± .011"
    assert "training sees test goals" in next(row.known for row in PUBLISHED if row.method == "GiGPO")
