from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turngym.webshop_server.catalogue.catalogue import Catalogue
from turngym.webshop_server.catalogue.files import CatalogueFiles, Problem, kind_of, read_catalogue, read_records
from turngym.webshop_server.catalogue.generated import generate_catalogue, generate_records
from turngym.webshop_server.catalogue.json_stream import CatalogueFileError

Write = Callable[[str, Any], Path]


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


def test_json_lines_are_told(write: Write, originals: tuple[Any, Any, Any]) -> None:
    items, annotations, _ = originals
    lines = b"\n".join(json.dumps(item).encode() for item in items[:3])
    with pytest.raises(CatalogueFileError, match=r"holds a product by itself.*JSON lines.*one list"):
        kind_of(write("items.jsonl", lines))
    lines = b"\n".join(json.dumps({asin: each}).encode() for asin, each in annotations.items())
    files = CatalogueFiles.recognize([write("items.json", items), write("attributes.jsonl", lines)])
    with pytest.raises(CatalogueFileError, match=r"text after its end.*JSON lines"):
        read_catalogue(files)


def test_files_that_do_not_make_a_catalogue_are_refused(files: CatalogueFiles, write: Write) -> None:
    assert files.attributes
    with pytest.raises(CatalogueFileError, match="none of the files holds products"):
        CatalogueFiles.recognize([files.attributes])
    copy = write("copy.json", files.items.read_bytes())
    with pytest.raises(CatalogueFileError, match=r"items\.json and .*copy\.json are both files of items"):
        CatalogueFiles.recognize([files.items, copy])


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
