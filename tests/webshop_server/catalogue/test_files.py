from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.catalogue import json_stream
from turngym.webshop_server.catalogue.catalogue import Catalogue
from turngym.webshop_server.catalogue.checking import check
from turngym.webshop_server.catalogue.files import CatalogueFiles, Problem, kind_of, read_catalogue, read_records
from turngym.webshop_server.catalogue.generated import generate_catalogue, generate_records
from turngym.webshop_server.catalogue.json_stream import CatalogueFileError, JsonStream, members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
LAYOUTS = st.sampled_from([None, 1, "\t"])

Write = Callable[[str, Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file: text or bytes as they are, anything else as JSON."""

    def write_file(name: str, content: Any) -> Path:
        path = tmp_path / name
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        path.write_bytes(content)
        return path

    return write_file


@pytest.fixture
def originals() -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """The contents of the three files for 40 generated products."""
    records = list(generate_records(40))
    return (
        [dict(one.item) for one in records],
        {one.item["asin"]: dict(one.annotation or {}) for one in records},
        {one.item["asin"]: list(one.human) for one in records if one.human},
    )


@pytest.fixture
def files(write: Write, originals: tuple[Any, Any, Any]) -> CatalogueFiles:
    items, attributes, instructions = originals
    return CatalogueFiles(
        write("items.json", items), write("attributes.json", attributes), write("instructions.json", instructions)
    )


# Streaming


@given(st.lists(VALUES, max_size=5), st.integers(1, 40), LAYOUTS, st.booleans())
def test_a_list_in_any_chunks_is_read_as_a_whole_one(values: list[Any], chunk: int, indent: Any, ascii_: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_)
    assert list(JsonStream(io.StringIO(text).read, chunk)) == [(None, value) for value in values]


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.integers(1, 40), LAYOUTS)
def test_an_object_in_any_chunks_is_read_as_a_whole_one(values: dict[str, Any], chunk: int, indent: Any) -> None:
    assert list(JsonStream(io.StringIO(json.dumps(values, indent=indent)).read, chunk)) == list(values.items())


@given(st.lists(VALUES, min_size=1, max_size=3), st.integers(1, 40), st.data())
def test_a_text_that_is_cut_off_is_an_error(values: list[Any], chunk: int, data: st.DataObject) -> None:
    text = json.dumps(values)
    text = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(CatalogueFileError, match=r"cut off|is empty|Expecting|Invalid|Unterminated"):
        list(JsonStream(io.StringIO(text).read, chunk))


@given(st.text(alphabet='[]{}",:0-1.eE \\utrfalsn'), st.integers(1, 9))
def test_any_text_is_read_as_json_does_or_refused(text: str, chunk: int) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    stream = JsonStream(io.StringIO(text).read, chunk)
    if isinstance(expected, list):
        assert [value for _, value in stream] == expected
    elif isinstance(expected, dict):
        assert dict(stream) == expected
    else:
        with pytest.raises(CatalogueFileError):
            list(stream)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it must be a JSON list or object, but is empty"),
        ("  5", "but begins with '5'"),
        ('"text"', "but begins with '\"'"),
        ('[{"a": 1}, {"a": }]', "record 2 is not JSON: Expecting value"),
        ('[{"a": 1}, {"a": 2', "record 2 is not JSON: the file is cut off there"),
        ('[{"a": 1}, {"a": "tw', "record 2 is not JSON: the file is cut off there"),
        ('[{"a": 1},', "record 2 is not JSON: the file is cut off there"),
        ('[{"a": 1}', "it is cut off after record 1"),
        ('[{"a": 1} {"a": 2}]', "after record 1 stands '{' instead of ',' or ']'"),
        ("[1] 2", "there is text after its end: '2'"),
        ("{5: 6}", "record 1 is not JSON: it must begin with a name in quotes and a colon"),
        ('{"a" 6}', "record 1 is not JSON: it must begin with a name in quotes and a colon"),
        ("[" * 100_000, "record 1 is not JSON: maximum recursion depth"),
        ("[" + "9" * 5000 + "]", "record 1 is not JSON: Exceeds the limit"),
    ],
    ids=range(14),
)
def test_an_error_names_the_record_and_the_reason(text: str, reason: str) -> None:
    with pytest.raises(CatalogueFileError) as caught:
        list(JsonStream(io.StringIO(text).read, 1000))
    assert reason in str(caught.value)


def test_a_mistake_is_found_before_the_rest_is_read() -> None:
    text = io.StringIO('[{"a": 1}, {"a" 2}, ' + '{"a": 3}, ' * 100_000 + "{}]")
    with pytest.raises(CatalogueFileError, match="record 2"):
        list(JsonStream(text.read, 1000))
    assert text.tell() <= 2000


def test_a_missing_quote_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_MEMBER_CHARS", 10_000)
    with pytest.raises(CatalogueFileError, match="longer than 10000 characters"):
        list(JsonStream(io.StringIO('["' + "x" * 100_000).read, 100))


def test_memory_is_bounded_by_the_chunks_and_not_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    record = json.dumps({"asin": "X", "text": "x" * 1000})
    with path.open("w", encoding="utf-8") as file:
        file.write("[" + f"{record}," * 20_000 + record + "]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in members(path)) == 20_001
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 20_000_000
    assert peak < 8_000_000


# Files


def test_a_compressed_file_is_told_by_its_content(write: Write) -> None:
    content = '\ufeff[{"name": "Café"}]'.encode()
    plain, compressed = write("plain.json.gz", content), write("compressed.json", gzip.compress(content, mtime=0))
    assert list(members(plain)) == list(members(compressed)) == [(None, {"name": "Café"})]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"name": "\xff"}]', "codec can't decode"),
        (gzip.compress(b"[1, 2, 3]", mtime=0)[:-9], "end-of-stream"),
        (gzip.compress(b"[1, 2, 3]", mtime=0)[:-8] + bytes(8), "CRC"),
        (b"\x1f\x8bnothing", "cannot be read"),
        (b"[1, 2", r"broken\.json: record 2 is not JSON|cut off after record 2"),
    ],
)
def test_a_damaged_file_is_named(write: Write, content: bytes, reason: str) -> None:
    path = write("broken.json", content)
    with pytest.raises(CatalogueFileError, match=reason) as caught:
        list(members(path))
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueFileError, match=r"absent\.json cannot be read: .*No such file"):
        list(members(tmp_path / "absent.json"))
    with pytest.raises(CatalogueFileError, match="cannot be read"):
        list(members(tmp_path))


def test_the_kind_of_a_file_is_told_by_its_content(files: CatalogueFiles) -> None:
    assert files.attributes and files.instructions
    assert kind_of(files.items) == "items"
    assert kind_of(files.attributes) == "attributes"
    assert kind_of(files.instructions) == "instructions"
    assert CatalogueFiles.recognize([files.instructions, files.attributes, files.items]) == files


@pytest.mark.parametrize("content", [{}, {"version": 5}, []])
def test_a_file_of_no_kind_is_refused(write: Write, content: Any) -> None:
    with pytest.raises(CatalogueFileError, match="holds neither"):
        kind_of(write("other.json", content))


def test_files_that_do_not_make_a_catalogue_are_refused(files: CatalogueFiles, write: Write) -> None:
    assert files.attributes
    with pytest.raises(CatalogueFileError, match="none of the files holds products"):
        CatalogueFiles.recognize([files.attributes])
    copy = write("copy.json", files.items.read_bytes())
    with pytest.raises(CatalogueFileError, match=r"items\.json and .*copy\.json are both files of items"):
        CatalogueFiles.recognize([files.items, copy])


# Reading for use


def test_what_is_read_is_what_was_written(files: CatalogueFiles) -> None:
    expected = generate_catalogue(40)
    assert list(read_records(files)) == list(generate_records(40))
    assert dict(read_catalogue(files)) == dict(expected)
    assert read_catalogue(files).fingerprint == expected.fingerprint


def test_items_alone_make_a_catalogue(files: CatalogueFiles) -> None:
    catalogue = read_catalogue(CatalogueFiles(files.items))
    assert len(catalogue) == 40
    assert all(product.synthetic is None and not product.human for product in catalogue.values())


def test_the_rules_of_the_original_are_followed(write: Write, originals: tuple[Any, Any, Any]) -> None:
    items = originals[0]
    first = [items[0], items[1] | {"asin": "nan"}, items[2] | {"asin": "TOOLONG0000"}, items[3] | {"asin": "Z" * 10}]
    path = write("items.json", [*first, items[0] | {"name": "Again"}, *items[4:]])
    catalogue = read_catalogue(CatalogueFiles(path), num_products=6)
    assert list(catalogue) == [items[0]["asin"], "Z" * 10, items[4]["asin"]]
    assert catalogue[items[0]["asin"]].title == items[0]["name"]


def test_a_malformed_record_is_an_error_or_is_skipped(
    write: Write, files: CatalogueFiles, originals: tuple[Any, Any, Any]
) -> None:
    items = originals[0]
    items[2] = {"asin": items[2]["asin"]}
    path = write("items.json", items)
    with pytest.raises(CatalogueFileError, match=rf"record 3 \({items[2]['asin']}\): name must.*turngym webshop check"):
        read_catalogue(files)
    problems: list[Problem] = []
    assert len(read_catalogue(files, on_malformed=problems.append)) == 39
    assert [(problem.path, problem.record, problem.kind) for problem in problems] == [(path, 3, "malformed")]


@pytest.mark.parametrize(("role", "bad"), [("attributes", {"attributes": 5}), ("instructions", [{"instruction": 5}])])
def test_a_malformed_annotation_is_an_error_or_is_skipped(
    write: Write, files: CatalogueFiles, originals: tuple[Any, Any, Any], role: str, bad: Any
) -> None:
    content = originals[1 if role == "attributes" else 2]
    asin = list(content)[1]
    write(f"{role}.json", content | {asin: bad})
    with pytest.raises(CatalogueFileError, match=rf"{role}\.json, record 2 \({asin}\)"):
        read_catalogue(files)
    problems: list[Problem] = []
    product = read_catalogue(files, on_malformed=problems.append)[asin]
    assert len(problems) == 1
    assert product.attributes == ("DUMMY_ATTR",) if role == "attributes" else not product.human


def test_the_original_catalogue_is_read(recordings: Path, original_catalogue: Catalogue) -> None:
    files = CatalogueFiles.recognize(recordings.glob("*.json.gz"))
    assert dict(read_catalogue(files)) == dict(original_catalogue)


# Checking


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
