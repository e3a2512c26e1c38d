"""The catalogue: products, immutable and shared by all sessions, in the records of the original WebShop.

Yao et al., "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents", arXiv 2207.01206. A
product is described by up to three records: itself (from `items_shuffle*.json`), its attributes and a synthetic
instruction (from `items_ins_v2*.json`), and instructions written by people (from `items_human_ins.json`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

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


class ProductRecords(NamedTuple):
    """All records of one product, in the original's form."""

    item: Record
    """The product itself."""
    annotation: Record | None = None
    """Its `attributes`, and perhaps `instruction` and `instruction_attributes`."""
    human: tuple[Record, ...] = ()
    """Instructions by people: `instruction`, `instruction_attributes`, `instruction_options`."""

    def build(self) -> Product:
        """Return the product that they describe.

        Raises:
            RecordError: A field is missing or has another form.
        """
        return build_product(self.item, self.annotation, self.human)


class Fingerprint:
    """A hash over what search and goals depend on, product by product in their order; pictures do not count."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(b"turngym catalogue 1", digest_size=16)

    def add(self, product: Product) -> None:
        """Take in the next product."""
        wishes = [[wish.text, wish.attributes, wish.options] for wish in (product.synthetic, *product.human) if wish]
        content = [
            product.asin, product.title, product.description, product.bullet_points, product.category, product.query,
            product.product_category, product.prices, list(product.options.items()), product.attributes,
            product.synthetic is not None, wishes,
        ]  # fmt: skip
        self._hash.update(json.dumps(content, separators=(",", ":")).encode())

    def hexdigest(self) -> str:
        """Return the hash of the products so far: 32 hexadecimal digits."""
        return self._hash.hexdigest()


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

    def product_at(self, position: int) -> Product:
        """Return the product at a position, from 0."""
        return self._in_order[position]

    @cached_property
    def _in_order(self) -> tuple[Product, ...]:
        return tuple(self._products.values())

    @cached_property
    def fingerprint(self) -> str:
        """What tells this catalogue from others: 32 hexadecimal digits, the same wherever its products are kept."""
        fingerprint = Fingerprint()
        for product in self._products.values():
            fingerprint.add(product)
        return fingerprint.hexdigest()


def build_product(item: Record, annotation: Record | None = None, human: Iterable[Record] = ()) -> Product:
    """Return the product that records of the original's form describe.

    Args:
        item: The product itself.
        annotation: Its `attributes`, and perhaps `instruction` and `instruction_attributes`.
        human: Instructions by people: `instruction`, `instruction_attributes`, `instruction_options`.

    Raises:
        RecordError: A field is missing or has another form.
    """
    options, images = _options(_value(item, "customization_options"))
    attributes, synthetic = read_annotation(annotation or {})
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
        image=_first_text(_value(item, "images")),
        attributes=attributes,
        synthetic=synthetic,
        human=tuple(read_wish(wish) for wish in human),
    )  # fmt: skip


def read_annotation(annotation: Record) -> tuple[tuple[str, ...], Instruction | None]:
    """Return the attributes of a product and its synthetic instruction.

    Raises:
        RecordError: A field is missing or has another form.
    """
    wanted = _optional_text(annotation, "instruction")
    return (
        _texts(annotation, "attributes") if "attributes" in annotation else UNKNOWN_ATTRIBUTES,
        None if wanted is None else Instruction(wanted, _texts(annotation, "instruction_attributes")),
    )


def read_wish(wish: Record) -> Instruction:
    """Return an instruction by a person.

    Raises:
        RecordError: A field is missing or has another form.
    """
    return Instruction(
        _text(wish, "instruction"), _texts(wish, "instruction_attributes"), _texts(wish, "instruction_options")
    )


def asin_of(item: Record) -> str:
    """Return the identifier of a product.

    Raises:
        RecordError: There is none, or not one that the shop takes.
    """
    asin = _text(item, "asin")
    if not asin or asin == "nan" or len(asin) > MAX_ASIN_CHARS:
        raise RecordError(f"the asin must have 1 to {MAX_ASIN_CHARS} characters and not be 'nan', got {asin!r}")
    return asin


def asin_key(asin: str) -> bytes:
    """Return an asin as bytes; JSON can hold halves of surrogate pairs, which SQLite's text cannot."""
    return asin.encode("utf-8", "surrogatepass")


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
    if not prices or not all(map(math.isfinite, prices)):
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
        if not isinstance(contents, list):
            raise RecordError(f"the values of the option {name!r} must be a list, got {type(contents).__name__}")
        values = []
        for content in contents:
            value = _text(content, "value").strip().replace("/", " | ").lower()
            values.append(value)
            images[value] = _first_text([content.get("image")]) or None
        options[name.lower()] = tuple(values)
    return options, images


def _value(record: Record, name: str) -> Any:
    if not isinstance(record, dict):
        raise RecordError(f"a record must be an object, got {type(record).__name__}")
    return record.get(name)


def _text(record: Record, name: str) -> str:
    value = _value(record, name)
    if not isinstance(value, str):
        raise RecordError(f"{name} must be text, got {type(value).__name__}")
    return value


def _optional_text(record: Record, name: str) -> str | None:
    return None if _value(record, name) is None else _text(record, name)


def _texts(record: Record, name: str) -> tuple[str, ...]:
    values = _value(record, name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RecordError(f"{name} must be a list of texts")
    return tuple(values)


def _first_text(values: Any) -> str:
    """Return the first of the addresses of pictures; whatever else stands there, a product can do without."""
    first = values[0] if isinstance(values, list) and values else None
    return first if isinstance(first, str) else ""
