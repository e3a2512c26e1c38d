"""What generated products are made of: kinds of product by department, values of options, and wording, read from data/.

A kind of product holds what its products choose from. Its attributes play one of three roles: what a product `is`
("machine washable"), what it `has` ("side pockets"), and whom or what it `suits` ("summer weddings").
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

Role = Literal["is", "has", "suits"]
ROLES: tuple[Role, ...] = get_args(Role)
DEPARTMENTS = ("beauty", "electronics", "garden", "fashion", "grocery")
_ARTICLES = ("a pair of", "a set of", "an", "a", "some")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of product, such as body lotions."""

    department: str
    query: str
    """How the shop calls the kind, such as `body lotions`."""
    path: str
    """Where it stands in the shop, from the general to the particular, parted by ` › `."""
    names: tuple[str, ...]
    """What a title calls such a product."""
    article: str
    """What goes before the noun: `a`, `some`, `a pair of`, ..."""
    noun: str
    """What a person calls it."""
    themes: tuple[str, ...]
    """Names that competing products share."""
    price: tuple[float, float]
    """The lowest and highest price, in dollars."""
    attributes: Mapping[Role, tuple[str, ...]]
    options: Mapping[str, tuple[str, ...]]
    """Options that such products may have, with all values."""
    notes: tuple[str, ...]
    """Sentences that are true of all of them and mention no attribute."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Words that all kinds of product share; wording.toml says what stands in the templates' braces."""

    lines: tuple[str, ...]
    """Names of product lines."""
    brand_beginnings: tuple[str, ...]
    brand_endings: tuple[str, ...]
    sentences: Mapping[str, tuple[str, ...]]
    """Sentences of descriptions and bullet points: on an attribute, by its role; `first`; and `plain` ones."""
    instructions: Mapping[str, tuple[str, ...]]
    """`openings` of synthetic instructions, people's `requests`, and how they go on to what it `has` and `suits`."""
    mentions: Mapping[str, tuple[str, ...]]
    """How a person mentions the value of an option, by the option's name or `other`."""


@cache
def kinds() -> tuple[Kind, ...]:
    """Return all kinds of product."""
    pools = _tuples(_read("options"))
    return tuple(_kind(department, table, pools) for department in DEPARTMENTS for table in _read(department)["kind"])


@cache
def wording() -> Wording:
    """Return the words that all kinds share."""
    table = _read("wording")
    return Wording(
        lines=tuple(table["lines"]),
        brand_beginnings=tuple(table["brand_beginnings"]),
        brand_endings=tuple(table["brand_endings"]),
        sentences=_tuples(table["sentences"]),
        instructions=_tuples(table["instructions"]),
        mentions=_tuples(table["mentions"]),
    )


def _kind(department: str, table: Mapping[str, Any], pools: Mapping[str, tuple[str, ...]]) -> Kind:
    low, high = table["price"]
    article = next(article for article in _ARTICLES if table["noun"].startswith(f"{article} "))
    return Kind(
        department=department,
        query=table["query"],
        path=table["path"],
        names=tuple(table["names"]),
        article=article,
        noun=table["noun"].removeprefix(f"{article} "),
        themes=tuple(table["themes"]),
        price=(float(low), float(high)),
        attributes={role: tuple(table[role]) for role in ROLES},
        options={name: pools[pool] for name, pool in table["options"].items()},
        notes=tuple(table["notes"]),
    )


def _tuples(table: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(texts) for name, texts in table.items()}


def _read(name: str) -> dict[str, Any]:
    text = files("turngym.webshop_server.catalogue").joinpath("data", f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
