"""Products from the records of the original WebShop.

A product is described by up to three records: itself (from `items_shuffle*.json`), its attributes and a synthetic
instruction (from `items_ins_v2*.json`), and instructions written by people (from `items_human_ins.json`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from turngym.webshop_server.product import Instruction, Product

Record = Mapping[str, Any]

DEFAULT_PRICES = (100.0,)
"""The price, in dollars, of a product that names none."""
UNKNOWN_ATTRIBUTES = ("DUMMY_ATTR",)
"""The attributes of a product of which none are recorded."""
MAX_ASIN_CHARS = 10


class RecordError(ValueError):
    """A record does not describe a product; the message says why."""


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
        bullet_points=texts_of(item, "small_description") if isinstance(item.get("small_description"), list)
        else (_text(item, "small_description"),),
        category=_text(item, "category"),
        query=_text(item, "query").lower().strip(),
        product_category=_text(item, "product_category"),
        prices=parse_prices(optional_text(item, "pricing") or ""),
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
    wanted = optional_text(annotation, "instruction")
    return (
        texts_of(annotation, "attributes") if "attributes" in annotation else UNKNOWN_ATTRIBUTES,
        None if wanted is None else Instruction(wanted, texts_of(annotation, "instruction_attributes")),
    )


def read_wish(wish: Record) -> Instruction:
    """Return an instruction by a person.

    Raises:
        RecordError: A field is missing or has another form.
    """
    return Instruction(
        _text(wish, "instruction"), texts_of(wish, "instruction_attributes"), texts_of(wish, "instruction_options")
    )


def read_wishes(records: Any) -> list[Instruction]:
    """Return all instructions by people for a product.

    Raises:
        RecordError: It is no list, or a field of one is missing or has another form.
    """
    if not isinstance(records, list):
        raise RecordError(f"the instructions must be a list, got {type(records).__name__}")
    return [read_wish(record) for record in records]


def asin_of(item: Record) -> str:
    """Return the identifier of a product.

    Raises:
        RecordError: There is none, or not one that the shop takes.
    """
    asin = _text(item, "asin")
    if not asin or asin == "nan" or len(asin) > MAX_ASIN_CHARS:
        raise RecordError(f"the asin must have 1 to {MAX_ASIN_CHARS} characters and not be 'nan', got {asin!r}")
    return asin


def is_left_out(item: Any) -> bool:
    """Return whether the original leaves a product out, by its asin."""
    asin = asin_or_nothing(item)
    return asin == "nan" or len(asin) > MAX_ASIN_CHARS


def asin_or_nothing(item: Any) -> str:
    """Return the asin of a record that may be malformed, or nothing."""
    asin = item.get("asin") if isinstance(item, dict) else None
    return asin if isinstance(asin, str) else ""


def asin_key(asin: str) -> bytes:
    """Return an asin as bytes, since JSON can hold lone surrogates, which SQLite's text cannot."""
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


def optional_text(record: Record, name: str) -> str | None:
    """Return a text of a record, None where it has none.

    Raises:
        RecordError: It is no text, or the record no object.
    """
    return None if _value(record, name) is None else _text(record, name)


def texts_of(record: Record, name: str) -> tuple[str, ...]:
    """Return a list of texts of a record.

    Raises:
        RecordError: It is none, or the record no object.
    """
    values = _value(record, name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RecordError(f"{name} must be a list of texts")
    return tuple(values)


def _first_text(values: Any) -> str:
    """Return the first address of a list of pictures, or nothing where there is no list or no text in it."""
    first = values[0] if isinstance(values, list) and values else None
    return first if isinstance(first, str) else ""
