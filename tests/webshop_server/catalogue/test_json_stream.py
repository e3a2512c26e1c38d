"""JSON files of any size: read in chunks as a whole one is, and refused with the place of the mistake."""

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
from turngym.webshop_server.catalogue.json_stream import CatalogueFileError, JsonStream, members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
LAYOUTS = st.sampled_from([None, 1, "\t"])

Write = Callable[[str, Any], Path]


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
