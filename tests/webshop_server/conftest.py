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
from turngym.webshop_server.goals import Goal, WantedOption
from turngym.webshop_server.product import Product
from turngym.webshop_server.search import BM25Index, documents_of

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


def product(asin: str, title: str, **changes: Any) -> Product:
    fields: dict[str, Any] = {
        "asin": asin,
        "title": title,
        "description": f"All about {title}.",
        "bullet_points": ("Machine washable.", "Made of linen."),
        "category": "fashion",
        "query": "shirts",
        "product_category": "Clothing › Men › Shirts",
        "prices": (25.0,),
        "options": {},
        "option_images": {},
        "image": "",
        "attributes": ("long sleeve",),
        "synthetic": None,
        "human": (),
    }
    return Product(**(fields | changes))


@pytest.fixture(scope="session")
def make_product() -> Callable[..., Product]:
    """Make a shirt from its asin, its title and what is unlike other shirts."""
    return product


@pytest.fixture(scope="session")
def shirts() -> Catalogue:
    """Three shirts with odd options, 12 plain ones to fill pages, and a lamp."""
    return Catalogue([
        product("SHIRT00001", "Linen Shirt", options={"color": ("navy blue", "red"), "size": ("small", "description")}),
        product("SHIRT00002", "Silk Shirt", options={"color": ("red",), "trim": ("red", "gold")}, prices=(9.99, 30.5)),
        product("SHIRT00003", "Wool Shirt", description="  ", bullet_points=("",)),
        *(product(f"PLAIN{number:05}", f"Plain Shirt {number}") for number in range(12)),
        product("LAMP000001", "Brass Lamp", category="garden", query="lamps", product_category="Home › Lamps"),
    ])  # fmt: skip


@pytest.fixture(scope="session")
def find(shirts: Catalogue) -> Callable[[str, int], list[str]]:
    """A search: products whose title has one of the words, in the order of the catalogue."""

    def search(query: str, limit: int) -> list[str]:
        words = set(query.split())
        return [asin for asin, found in shirts.items() if words & set(found.title.lower().split())][:limit]

    return search


@pytest.fixture(scope="session")
def wish() -> Goal:
    """Wants the first of the shirts."""
    return Goal(
        asin="SHIRT00001",
        title="Linen Shirt",
        category="fashion",
        query="shirts",
        product_category="Clothing › Men › Shirts",
        instruction="find a navy blue linen shirt, and price lower than 30.00 dollars",
        attributes=("long sleeve",),
        options=(WantedOption("color", "navy blue"),),
        price_bound=30.0,
    )


@pytest.fixture(scope="session")
def recorded_goal() -> Callable[[dict[str, Any]], Goal]:
    """Build a goal from its recording."""

    def build(record: dict[str, Any]) -> Goal:
        options = record["goal_options"]
        named = options.items() if isinstance(options, dict) else [(None, value) for value in options]
        return Goal(
            asin=record["asin"],
            title=record["name"],
            category=record["category"],
            query=record["query"],
            product_category=record["product_category"],
            instruction=record["instruction_text"],
            attributes=tuple(record["attributes"]),
            options=tuple(WantedOption(name, value) for name, value in named),
            price_bound=record["price_upper"],
            weight=record.get("weight", 1.0),
        )

    return build


@pytest.fixture(scope="session")
def original_search(original_catalogue: Catalogue) -> Callable[[str, int], list[str]]:
    """The built-in search engine over the original's catalogue."""
    return BM25Index.build(documents_of(original_catalogue)).search
