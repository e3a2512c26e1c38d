"""The three files of the original WebShop for 40 generated products."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turngym.webshop_server.catalogue import CatalogueFiles, generate_records

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
