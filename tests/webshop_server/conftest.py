"""Recorded behavior of the original WebShop, where it is at hand: what the shop's tests share.

The recordings hold scraped product texts and are not part of this project. They are looked for in the folder that the
variable WEBSHOP_RECORDINGS names, or else in a folder `webshop` with a folder `golden` in it, beside the checkout.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turngym.webshop_server.catalogue import Catalogue, build_product

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of the small original catalogue, with the recordings in `golden`; skips where there is none."""
    named = os.environ.get("WEBSHOP_RECORDINGS")
    found = [Path(named)] if named else [folder.parent for folder in sorted(ROOT.parent.glob("*/webshop/golden"))]
    if not found:
        pytest.skip(
            "no recordings of the original WebShop: WEBSHOP_RECORDINGS is not set and none lie beside the checkout"
        )
    return found[0]


@pytest.fixture(scope="session")
def recorded(recordings: Path) -> Callable[[str], Any]:
    """Read a recording by its path in that folder, without `.gz`: JSON, or a list of JSON lines."""

    def read(name: str) -> Any:
        with gzip.open(recordings / f"{name}.gz", "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file] if name.endswith(".jsonl") else json.load(file)

    return read


@pytest.fixture(scope="session")
def original_catalogue(recorded: Callable[[str], Any]) -> Catalogue:
    """The original's catalogue of 1,000 products."""
    annotations, wishes = recorded("items_ins_v2_1000.json"), recorded("items_human_ins.json")
    items = recorded("items_shuffle_1000.json")
    return Catalogue(build_product(item, annotations.get(item["asin"]), wishes.get(item["asin"], ())) for item in items)
