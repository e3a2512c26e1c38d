"""Prices as agents read them and as people do."""

from __future__ import annotations

import pytest

from turngym.webshop_server.product import with_cents


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$38.0", "$38.00"), ("$9.99", "$9.99"), ("Price: $9.5 to $19.0", "Price: $9.50 to $19.00"),
        ("$0.125", "$0.125"), ("no price, 3.5 stars", "no price, 3.5 stars"), ("", ""),
    ],
)  # fmt: skip
def test_prices_have_two_decimals(text: str, expected: str) -> None:
    assert with_cents(text) == expected
