"""A product as the shop shows and sells it, and what somebody wants of one; immutable and shared by all sessions.

Yao et al., "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents", arXiv 2207.01206.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TENTHS = re.compile(r"(\$\d+\.\d)(?!\d)")


def with_cents(text: str) -> str:
    """Return a text with its prices as people write them: `$38.00` where agents read `$38.0`."""
    return _TENTHS.sub(r"\g<1>0", text)


@dataclass(frozen=True, slots=True)
class Instruction:
    """What somebody wants of a product, before a price bound is added."""

    text: str
    """The wish in words."""
    attributes: tuple[str, ...]
    """Attributes asked for."""
    options: tuple[str, ...] = ()
    """Option values asked for by a person; a synthetic instruction is combined with every choice of options instead."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product, as the shop shows and sells it."""

    asin: str
    """Its identifier, at most 10 characters."""
    title: str
    description: str
    bullet_points: tuple[str, ...]
    """What the page calls features."""
    category: str
    """The department, such as `beauty`."""
    query: str
    """The kind of product in lower case, such as `decorative pillows`."""
    product_category: str
    """The path to the product, such as `Home & Kitchen › Bedding › Pillows`."""
    prices: tuple[float, ...]
    """The price in dollars, or the two ends of its range."""
    options: Mapping[str, tuple[str, ...]]
    """The values of each option, all in lower case, such as those of `color`."""
    option_images: Mapping[str, str | None]
    """Addresses of pictures by option value."""
    image: str
    """Address of the picture, or nothing."""
    attributes: tuple[str, ...]
    """What is true of the product, hidden from who shops."""
    synthetic: Instruction | None
    """The instruction made from the product's data."""
    human: tuple[Instruction, ...]
    """Instructions written by people."""

    @property
    def price_tag(self) -> str:
        """The price as the original writes it and agents read it, such as `$9.9` or `$9.99 to $19.99`."""
        return " to ".join(f"${price}" for price in self.prices)

    @property
    def searchable_text(self) -> str:
        """What the search engine reads: title, description, first bullet point and options, in lower case."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return " ".join([self.title, self.description, *(self.bullet_points[:1] or [""]), options]).lower()
