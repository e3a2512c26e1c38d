"""A catalogue in memory: the first of products with one asin, and a fingerprint of what search and goals depend on."""

from __future__ import annotations

from typing import Any

import pytest
from tests.webshop_server.catalogue.teapot import ANNOTATION, ITEM, WISH

from turngym.webshop_server.catalogue.catalogue import Catalogue
from turngym.webshop_server.catalogue.records import ProductRecords, build_product


def test_the_first_of_products_with_one_asin_stays() -> None:
    first, second = build_product(ITEM), build_product(ITEM | {"name": "Other Teapot"})
    catalogue = Catalogue([first, second])
    assert list(catalogue) == ["TEAPOT0001"]
    assert catalogue["TEAPOT0001"] is first


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Large Teapot"},
        {"pricing": "$20.00"},
        {"customization_options": {}},
        {"small_description": ["Keeps warm.", "Holds three cups."]},
        {"query": "pots"},
    ],
)
def test_the_fingerprint_depends_on_what_is_sold(change: dict[str, Any]) -> None:
    assert Catalogue([build_product(ITEM | change)]).fingerprint != Catalogue([build_product(ITEM)]).fingerprint


def test_the_fingerprint_depends_on_goals_and_order_but_not_on_pictures() -> None:
    plain, other = build_product(ITEM), build_product(ITEM | {"asin": "TEAPOT0002"})
    assert Catalogue([plain, other]).fingerprint != Catalogue([other, plain]).fingerprint
    for records in (ProductRecords(ITEM, ANNOTATION), ProductRecords(ITEM, None, (WISH,))):
        assert Catalogue([records.build()]).fingerprint != Catalogue([plain]).fingerprint
    assert Catalogue([build_product(ITEM | {"images": []})]).fingerprint == Catalogue([plain]).fingerprint
