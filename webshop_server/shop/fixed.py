"""The shop with the original's defects repaired.

An action that is not offered says so and changes nothing. A search needs a search bar, which the first page has, and
its query is words and nothing else. Every page that follows exists, what was chosen shows in every text, and a value
that several options have is clicked as `option: value`. The purchase ends the session and does not tell its reward.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from turngym.webshop_server.pages import (
    BACK_TO_SEARCH,
    BUY,
    NEXT,
    PREVIOUS,
    RESULTS_PER_PAGE,
    SEARCH,
    Button,
    Choice,
    Detail,
    Page,
    PageKind,
    Part,
    clickables,
)
from turngym.webshop_server.product import Product
from turngym.webshop_server.settings import Mode
from turngym.webshop_server.shop.shop import CACHED_PRODUCTS, ENDED, MAX_RESULTS, Move, Shop, listing

DETAILS: tuple[Detail, ...] = ("Description", "Features")
"""There are no reviews in any catalogue."""
MAX_QUERY_CHARS = 4_000
_ACTION = re.compile(r"(search|click)\[([^\n]*)\]", re.IGNORECASE)
_SEARCH, _BACK_TO_SEARCH, _PREVIOUS, _NEXT = map(Button, (SEARCH, BACK_TO_SEARCH, PREVIOUS, NEXT))
_ENDS_OF_ITEM = tuple(map(Button, (*DETAILS, BUY)))
"""The buttons below a product."""
_Options = tuple[tuple[str, tuple[str, ...]], ...]
"""The options of a product with their values."""


@dataclass(frozen=True)
class FixedShop(Shop):
    """The shop that the environment uses unless told otherwise."""

    mode: ClassVar[Mode] = "fixed"

    def layout(self, page: Page) -> list[Part]:
        """Return the parts of a page from top to bottom, those without visible text left out."""
        return [part for part in self._parts(page) if part.text.strip()]

    def act(self, page: Page, action: str, parts: Sequence[Part] | None = None) -> Move:
        """Return what `search[words]` or `click[text]` leads to; letter case and space around them do not matter."""
        if page.kind is PageKind.DONE:
            return Move(page, ENDED)
        name, argument = read_action(action)
        if not name:
            return Move(page, "write search[words] or click[text]")
        return self.look_for(page, argument) if name == "search" else self._click(page, argument, parts)

    # Where actions lead -----------------------------------------------------------------------------------------

    def look_for(self, page: Page, query: str) -> Move:
        """Return what a search on a page leads to; only the first page has a search bar."""
        query = " ".join(query.lower().split())
        if page.kind is not PageKind.START:
            return Move(page, f"there is no search bar here; click[{BACK_TO_SEARCH}] leads to it")
        if not query:
            return Move(page, "write the words to search for between the brackets")
        if len(query) > MAX_QUERY_CHARS:
            return Move(page, f"a query has at most {MAX_QUERY_CHARS:,} characters")
        found = tuple(self.search(query, MAX_RESULTS))
        return Move(replace(page, kind=PageKind.RESULTS, keywords=tuple(query.split()), found=found))

    def _click(self, page: Page, argument: str, parts: Sequence[Part] | None) -> Move:
        clicked = clickables(self.layout(page) if parts is None else parts).get(argument)
        if clicked is None or clicked.text == SEARCH:
            return Move(page, "nothing on this page is clicked by that text")
        return Move(self.follow(page, clicked))

    # Layout -----------------------------------------------------------------------------------------------------

    def _parts(self, page: Page) -> list[Part]:
        parts = [Part("Instruction:", role="instruction"), Part(page.goal.instruction, role="instruction")]
        match page.kind:
            case PageKind.START:
                return [Part("WebShop", role="logo"), *parts, _SEARCH]
            case PageKind.RESULTS:
                return [*parts, _BACK_TO_SEARCH, *self._results(page)]
            case PageKind.ITEM:
                return [*parts, _BACK_TO_SEARCH, _PREVIOUS, *_item(page, self.catalogue[page.asin])]
            case PageKind.DETAIL:
                return [*parts, _BACK_TO_SEARCH, _PREVIOUS, *_detail(page, self.catalogue[page.asin])]
            case PageKind.DONE:
                return [*parts, *_receipt(page)]

    def _results(self, page: Page) -> list[Part]:
        parts = [Part(f"Page {page.number} (Total results: {len(page.found)})", role="count")]
        if page.number > 1:
            parts.append(_PREVIOUS)
        if page.number * RESULTS_PER_PAGE < len(page.found):
            parts.append(_NEXT)
        for asin in page.listed:
            parts += listing(self.catalogue[asin], visited=asin in page.visited)
        return parts


def read_action(action: str) -> tuple[str, str]:
    """Return name and argument of `search[words]` or `click[text]`; two empty texts for anything else.

    Both are in lower case, the argument with single spaces between its words and none around them.
    """
    matched = _ACTION.fullmatch(action.strip())
    return (matched[1].lower(), " ".join(matched[2].lower().split())) if matched else ("", "")


def _item(page: Page, product: Product) -> list[Part]:
    parts: list[Part] = []
    for option, choices in _choices(tuple(product.options.items())):
        chosen = page.chosen.get(option)
        parts.append(Part(option if chosen is None else f"{option} (chosen: {chosen})", role="option"))
        parts += [taken if value == chosen else free for value, free, taken in choices]
    return [
        *parts,
        Part(product.title, role="title"),
        Part(f"Price: {product.price_tag}", role="price"),
        *_ENDS_OF_ITEM,
    ]


def _detail(page: Page, product: Product) -> list[Part]:
    texts = (product.description,) if page.detail == "Description" else product.bullet_points
    return [Part(text, role="product-info") for text in texts]


def _receipt(page: Page) -> list[Part]:
    bought = [Part("Thank you for shopping with us!", role="thankyou"), Part("Purchased", role="asin"),
              Part(page.asin, role="asin")]  # fmt: skip
    return bought + [Part(f"{option}: {value}", role="options") for option, value in page.chosen.items()]


@lru_cache(maxsize=CACHED_PRODUCTS)
def _choices(options: _Options) -> list[tuple[str, list[tuple[str, Choice, Choice]]]]:
    """Return every option with its values, each with its part while it is not chosen and its part when it is."""
    texts = _texts_of_choices(options)

    def part(option: str, value: str, *, chosen: bool) -> Choice:
        return Choice(texts[option, value], option, value, chosen)

    return [
        (option, [(value, part(option, value, chosen=False), part(option, value, chosen=True))
                  for value in dict.fromkeys(values)])
        for option, values in options
    ]  # fmt: skip


def _texts_of_choices(options: _Options) -> dict[tuple[str, str], str]:
    """Return by which text each value of each option is clicked: the value, if nothing else is."""
    pairs = {(option, value): " ".join(value.split()) for option, values in options for value in values}
    count = Counter(pairs.values())
    count.update(button.lower() for button in (BACK_TO_SEARCH, PREVIOUS, BUY, *DETAILS))
    return {(option, value): text if count[text] == 1 else f"{option}: {text}"
            for (option, value), text in pairs.items()}  # fmt: skip
