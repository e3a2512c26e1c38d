"""Checks of the original's files: all that is wrong is reported with its place and its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turngym.webshop_server.catalogue.checking import check
from turngym.webshop_server.catalogue.files import CatalogueFiles

Write = Callable[[str, Any], Path]


def test_good_files_have_no_problems(files: CatalogueFiles, originals: tuple[Any, Any, Any]) -> None:
    assert files.attributes and files.instructions
    report = check([files.instructions, files.items, files.attributes])
    assert report.usable
    assert [one.kind for one in report.files] == ["instructions", "items", "attributes"]
    assert not any(one.problem_counts for one in report.files)
    instructions, items, attributes = (one.counts for one in report.files)
    assert items["records"] == items["products"] == attributes["records"] == attributes["with attributes"] == 40
    assert items["with options"] == sum(bool(item["customization_options"]) for item in originals[0])
    assert attributes["with instruction"] == sum("instruction" in one for one in originals[1].values())
    assert instructions["instructions"] == sum(map(len, originals[2].values()))


def test_everything_wrong_with_items_is_reported(write: Write, originals: tuple[Any, Any, Any]) -> None:
    items = originals[0]
    del items[1]["name"], items[1]["query"]
    items[2]["pricing"] = "free"
    items[3]["asin"] = items[0]["asin"]
    items[4]["asin"] = "nan"
    items[5] = "a teapot"
    items[6]["asin"] = None
    (report,) = check([write("items.json", items)]).files
    assert not report.usable
    found = {problem.record: (problem.kind, problem.reason) for problem in report.problems}
    assert found == {
        2: ("missing", "it has no name, no query"),
        3: ("malformed", "pricing must look like '$9.99' or '$9.99 - $19.99', got 'free'"),
        4: ("duplicated", "an earlier record has the same asin"),
        5: ("left out", "the asin is 'nan' or longer than 10 characters"),
        6: ("malformed", "a record must be an object, got str"),
        7: ("malformed", "asin must be text, got NoneType"),
    }
    assert report.counts["products"] == 34
    assert report.problem_counts.total() == 6


def test_everything_wrong_with_annotations_is_reported(files: CatalogueFiles, write: Write) -> None:
    twice, bad, unknown = "TWICE00000", "BAD0000000", "UNKNOWN000"
    text = f'{{"{twice}": {{}}, "{twice}": {{"attributes": []}}, "{bad}": {{"attributes": 5}}, '
    text += f'"{unknown}": {{"attributes": ["red"], "instruction": "a teapot", "instruction_attributes": []}}}}'
    path = write("a.json", text)
    alone, together = check([path]).files[0], check([path, files.items]).files[0]
    assert alone.problem_counts == {"no attributes": 2, "duplicated": 1, "malformed": 1}
    assert together.problem_counts == alone.problem_counts | {"unknown product": 4}
    assert {problem.asin for problem in alone.problems} == {twice, bad, unknown}


def test_everything_wrong_with_instructions_is_reported(files: CatalogueFiles, write: Write) -> None:
    good = {"instruction": "a teapot", "instruction_attributes": ["red"], "instruction_options": []}
    content = {"A": [good, good | {"instruction_attributes": []}], "B": [good, {"instruction": 5}], "C": {"text": ""}}
    path = write("a.json", content)
    alone, together = check([path]).files[0], check([path, files.items]).files[0]
    assert alone.problem_counts == {"no attributes": 1, "malformed": 2}
    assert together.problem_counts == {"no attributes": 1, "malformed": 2, "unknown product": 3}
    assert "the instructions must be a list, got dict" in str(alone.problems[-1])


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        ("", None, "is empty"),
        ("5", None, "but begins with '5'"),
        ("{}", None, "holds neither"),
        (b"\x80", None, "codec can't decode"),
        ('[{"asin": "A"}, {"asin"', "items", "record 2 is not JSON: the file is cut off there"),
        ('{"A": {}, "B": {', "attributes", "record 2 is not JSON: the file is cut off there"),
        ('{"A": [], "B" []}', "instructions", "record 2 is not JSON: it must begin with a name in quotes and a colon"),
    ],
)
def test_a_broken_file_is_reported(write: Write, content: Any, kind: str | None, reason: str) -> None:
    report = check([write("broken.json", content)])
    assert not report.usable
    (file,) = report.files
    if kind is None or file.kind is not None:
        assert file.kind == kind
    assert file.problem_counts["unreadable"] == 1
    assert reason in str(file.problems[-1])


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    (report,) = check([tmp_path / "absent.json"]).files
    assert "No such file" in report.problems[0].reason


def test_a_report_counts_more_problems_than_it_lists(write: Write) -> None:
    (report,) = check([write("items.json", ["nothing"] * 250)]).files
    assert report.problem_counts == {"malformed": 250}
    assert len(report.problems) == 100


def test_the_original_files_are_usable(recordings: Path) -> None:
    report = check(sorted(recordings.glob("*.json.gz")))
    assert report.usable
    assert {one.kind: one.counts["records"] for one in report.files} == {
        "instructions": 13,
        "attributes": 1000,
        "items": 1000,
    }
