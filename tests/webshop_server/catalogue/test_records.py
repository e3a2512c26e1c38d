from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.webshop_server.catalogue.teapot import ANNOTATION, ITEM, WISH

from turngym.webshop_server.catalogue.records import (
    DEFAULT_PRICES,
    UNKNOWN_ATTRIBUTES,
    ProductRecords,
    RecordError,
    build_product,
    parse_prices,
)
from turngym.webshop_server.product import Instruction


def test_a_product_is_built_from_its_records() -> None:
    product = ProductRecords(ITEM, ANNOTATION, (WISH,)).build()
    assert product.title == "Small Teapot"
    assert product.query == "teapots"
    assert product.options == {"color": ("red | white", "blue")}
    assert product.option_images == {"red | white": "red.jpg", "blue": None}
    assert product.image == "front.jpg"
    assert product.attributes == ("dishwasher safe",)
    assert product.synthetic == Instruction("Find me teapots", ("dishwasher safe",))
    assert product.human == (Instruction("a red teapot", ("dishwasher safe",), ("red",)),)
    assert product.searchable_text == "small teapot pours without a drop. holds three cups. color: red | white, blue"
    assert product.price_tag == "$19.99"


def test_an_item_alone_makes_a_product() -> None:
    product = build_product(ITEM)
    assert product.attributes == UNKNOWN_ATTRIBUTES
    assert product.synthetic is None
    assert product.human == ()


def test_a_single_feature_may_stand_without_a_list() -> None:
    assert build_product(ITEM | {"small_description": "Keeps warm."}).bullet_points == ("Keeps warm.",)


@pytest.mark.parametrize("images", [None, [], [None], "front.jpg", 5])
def test_a_product_can_do_without_pictures(images: object) -> None:
    options = {"color": [{"value": "red", "image": 5}]}
    product = build_product(ITEM | {"images": images, "customization_options": options})
    assert product.image == ""
    assert product.option_images == {"red": None}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "a record must be an object, got NoneType"),
        ([ITEM], "a record must be an object, got list"),
        (ITEM | {"name": None}, "name must be text, got NoneType"),
        (ITEM | {"asin": "nan"}, "the asin must have 1 to 10 characters"),
        (ITEM | {"asin": "TEAPOT00001"}, "the asin must have 1 to 10 characters"),
        (ITEM | {"small_description": ["warm", 5]}, "small_description must be a list of texts"),
        (ITEM | {"pricing": 19.99}, "pricing must be text, got float"),
        (ITEM | {"customization_options": ["red"]}, "customization_options must be an object, got list"),
        (ITEM | {"customization_options": {"color": 5}}, "the values of the option 'color' must be a list, got int"),
        (ITEM | {"customization_options": {"color": ["red"]}}, "a record must be an object, got str"),
        (ITEM | {"customization_options": {"color": [{}]}}, "value must be text, got NoneType"),
    ],
)
def test_a_malformed_item_is_refused(item: Any, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        build_product(item)


@pytest.mark.parametrize(
    ("annotation", "wish", "reason"),
    [
        (["dishwasher safe"], WISH, "a record must be an object, got list"),
        ({"attributes": "dishwasher safe"}, WISH, "attributes must be a list of texts"),
        ({"instruction": "Find me teapots"}, WISH, "instruction_attributes must be a list of texts"),
        (ANNOTATION, "a red teapot", "a record must be an object, got str"),
        (ANNOTATION, {"instruction": "a red teapot"}, "instruction_attributes must be a list of texts"),
    ],
)
def test_a_malformed_annotation_is_refused(annotation: Any, wish: Any, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        build_product(ITEM, annotation, [wish])


@pytest.mark.parametrize(
    ("pricing", "prices"),
    [
        ("", DEFAULT_PRICES),
        ("$9.99", (9.99,)),
        ("$1,299.00", (1299.0,)),
        ("$9.99 - $19.99", (9.99, 19.99)),
        ("from $9 to $19 or $29", (9.0, 19.0)),
    ],
)
def test_prices_are_read(pricing: str, prices: tuple[float, ...]) -> None:
    assert parse_prices(pricing) == prices


@pytest.mark.parametrize("pricing", ["9.99", "free", "$", "$ - $5", "$1.2.3", "$" + "9" * 400])
def test_text_without_a_price_is_refused(pricing: str) -> None:
    with pytest.raises(RecordError, match="pricing must look like"):
        parse_prices(pricing)


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=2))
def test_written_prices_are_read_back(cents: list[int]) -> None:
    prices = tuple(amount / 100 for amount in cents)
    assert parse_prices(" - ".join(f"${price:,.2f}" for price in prices)) == prices


@given(st.text())
def test_any_pricing_is_read_or_refused(pricing: str) -> None:
    try:
        prices = parse_prices(pricing)
    except RecordError:
        return
    assert 1 <= len(prices) <= 2 and all(0 <= price < float("inf") for price in prices)
