"""The catalogue: products, immutable and shared by all sessions, in the records of the original WebShop.

Yao et al., "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents", arXiv 2207.01206. A
product is described by up to three records: itself (from `items_shuffle*.json`), its attributes and a synthetic
instruction (from `items_ins_v2*.json`), and instructions written by people (from `items_human_ins.json`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

DEFAULT_PRICES = (100.0,)
"""The price, in dollars, of a product that names none."""
UNKNOWN_ATTRIBUTES = ("DUMMY_ATTR",)
"""The attributes of a product of which none are recorded."""
MAX_ASIN_CHARS = 10


class RecordError(ValueError):
    """A record does not describe a product; the message says why."""


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
        """The price as the shop shows it, such as `$9.99` or `$9.99 to $19.99`."""
        return " to ".join(f"${price}" for price in self.prices)

    @property
    def searchable_text(self) -> str:
        """What the search engine reads: title, description, first bullet point and options, in lower case."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return " ".join([self.title, self.description, *(self.bullet_points[:1] or [""]), options]).lower()


class Catalogue(Mapping[str, Product]):
    """Products by their asin, in the order of their file, held in memory.

    Args:
        products: Those whose asin came before are left out.
    """

    def __init__(self, products: Iterable[Product]) -> None:
        self._products: dict[str, Product] = {}
        for product in products:
            self._products.setdefault(product.asin, product)

    def __getitem__(self, asin: str) -> Product:
        return self._products[asin]

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)


def build_product(item: Record, annotation: Record | None = None, human: Iterable[Record] = ()) -> Product:
    """Return the product that records of the original's form describe.

    Args:
        item: The product itself.
        annotation: Its `attributes`, and perhaps `instruction` and `instruction_attributes`.
        human: Instructions by people: `instruction`, `instruction_attributes`, `instruction_options`.

    Raises:
        RecordError: A field is missing or has another form.
    """
    annotation = annotation or {}
    options, images = _options(item.get("customization_options"))
    wanted = _optional_text(annotation, "instruction")
    return Product(
        asin=asin_of(item),
        title=_text(item, "name"),
        description=_text(item, "full_description"),
        bullet_points=_texts(item, "small_description") if isinstance(item.get("small_description"), list)
        else (_text(item, "small_description"),),
        category=_text(item, "category"),
        query=_text(item, "query").lower().strip(),
        product_category=_text(item, "product_category"),
        prices=parse_prices(_optional_text(item, "pricing") or ""),
        options=options,
        option_images=images,
        image=next(iter(item.get("images") or ()), ""),
        attributes=_texts(annotation, "attributes") if "attributes" in annotation else UNKNOWN_ATTRIBUTES,
        synthetic=None if wanted is None else Instruction(wanted, _texts(annotation, "instruction_attributes")),
        human=tuple(
            Instruction(_text(wish, "instruction"), _texts(wish, "instruction_attributes"),
                        _texts(wish, "instruction_options"))
            for wish in human
        ),
    )  # fmt: skip


def asin_of(item: Record) -> str:
    """Return the identifier of a product.

    Raises:
        RecordError: There is none, or not one that the shop takes.
    """
    asin = _text(item, "asin")
    if not asin or asin == "nan" or len(asin) > MAX_ASIN_CHARS:
        raise RecordError(f"the asin must have 1 to {MAX_ASIN_CHARS} characters and not be 'nan', got {asin!r}")
    return asin


def parse_prices(pricing: str) -> tuple[float, ...]:
    """Read `$9.99`, or a range such as `$9.99 - $19.99`; nothing means the default price.

    Raises:
        RecordError: There is text without a price in it.
    """
    if not pricing:
        return DEFAULT_PRICES
    try:
        prices = tuple(float(re.sub(r"[^\d.]", "", part)) for part in pricing.split("$")[1:3])
    except ValueError:
        prices = ()
    if not prices:
        raise RecordError(f"pricing must look like '$9.99' or '$9.99 - $19.99', got {pricing!r}")
    return prices


def _options(customization: Any) -> tuple[dict[str, tuple[str, ...]], dict[str, str | None]]:
    """Return the values of every option and the pictures of the values; no customization is an empty string."""
    options: dict[str, tuple[str, ...]] = {}
    images: dict[str, str | None] = {}
    if not customization:
        return options, images
    if not isinstance(customization, dict):
        raise RecordError(f"customization_options must be an object, got {type(customization).__name__}")
    for name, contents in customization.items():
        if contents is None:
            continue
        values = []
        for content in contents:
            value = _text(content, "value").strip().replace("/", " | ").lower()
            values.append(value)
            images[value] = content.get("image")
        options[name.lower()] = tuple(values)
    return options, images


def _text(record: Record, name: str) -> str:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise RecordError(f"{name} must be text, got {type(value).__name__}")
    return value


def _optional_text(record: Record, name: str) -> str | None:
    return None if record.get(name) is None else _text(record, name)


def _texts(record: Record, name: str) -> tuple[str, ...]:
    values = record.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RecordError(f"{name} must be a list of texts")
    return tuple(values)
