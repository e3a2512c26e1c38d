"""What a page shows, read from its visible parts alone: what a player of text can know, and no more."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from turngym.webshop_server.pages import NEXT, Button, Choice, Detail, Link, Page, PageKind, Part

NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Result:
    """A product in a list of results."""

    asin: str
    title: str
    price: str
    """As it is shown, such as `$9.99 to $19.99`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What stands on a page."""

    kind: PageKind
    wish: str = ""
    """The instruction."""
    count: int = 0
    """How many products were found."""
    first: int = 1
    """The number of the first result here, counted over all pages of the results from 1."""
    results: tuple[Result, ...] = ()
    has_next: bool = False
    """Whether there is a button to the next page of the results."""
    asin: str = ""
    """The product, by which it was clicked."""
    title: str = ""
    price: str = ""
    choices: tuple[Choice, ...] = ()
    """The values of all options, in their order."""
    chosen: frozenset[tuple[str, str]] = frozenset()
    """What was chosen of this product, as options and values; a player knows it from its own clicks."""
    detail: Detail | None = None
    """Which of the product's texts it is."""
    texts: tuple[str, ...] = ()


def sight_of(page: Page, parts: Sequence[Part]) -> Sight:
    """Return what stands on a page.

    Args:
        page: Of which the kind is read, the number of the page of results, and the product that was clicked.
        parts: What it shows.
    """
    of_role: dict[str, list[str]] = {}
    for part in parts:
        of_role.setdefault(part.role, []).append(part.text)
    texts = of_role.get("product-info", [])
    price = next(iter(of_role.get("price", [])), "").removeprefix("Price: ")
    count = NUMBER.findall(next(iter(of_role.get("count", [])), ""))
    return Sight(
        kind=page.kind,
        wish=next((text for text in of_role.get("instruction", []) if text.strip() != "Instruction:"), ""),
        count=int(count[-1]) if count else 0,
        first=page.first,
        results=tuple(_results(parts)),
        has_next=any(isinstance(part, Button) and part.text == NEXT for part in parts),
        asin=page.asin,
        title=next(iter(of_role.get("title", [])), ""),
        price=price,
        choices=tuple(part for part in parts if isinstance(part, Choice)),
        chosen=frozenset(page.chosen.items()),
        detail=page.detail,
        texts=tuple(text.strip() for text in texts),
    )


def _results(parts: Sequence[Part]) -> Iterator[Result]:
    asin = title = ""
    for part in parts:
        if isinstance(part, Link):
            asin = part.text
        elif part.role == "product-title":
            title = part.text
        elif part.role == "product-price":
            yield Result(asin, title, part.text)


def dollars(tag: str) -> tuple[float, ...]:
    """Return the price of a tag such as `$9.99`, or the two ends of `$9.99 to $19.99`, in dollars."""
    return tuple(float(number) for number in NUMBER.findall(tag))


def whole_dollars(tag: str) -> str:
    """Return the price of a tag in dollars, rounded up: `$ 24`, or `$ 10 to $ 20` for a range."""
    return " to ".join(f"$ {math.ceil(price)}" for price in dollars(tag))
