"""The records of a teapot, in the form of the original WebShop."""

from __future__ import annotations

from typing import Any

ITEM: dict[str, Any] = {
    "asin": "TEAPOT0001",
    "name": "Small Teapot",
    "full_description": "Pours without a drop.",
    "small_description": ["Holds three cups.", "Keeps warm."],
    "pricing": "$19.99",
    "product_category": "Home & Kitchen › Kitchen › Teapots",
    "query": " Teapots ",
    "category": "garden",
    "images": ["front.jpg", "back.jpg"],
    "customization_options": {
        "Color": [{"value": " Red/White ", "image": "red.jpg"}, {"value": "Blue", "image": None}],
        "Size": None,
    },
}
ANNOTATION = {
    "attributes": ["dishwasher safe"],
    "instruction": "Find me teapots",
    "instruction_attributes": ["dishwasher safe"],
}
WISH = {"instruction": "a red teapot", "instruction_attributes": ["dishwasher safe"], "instruction_options": ["red"]}
