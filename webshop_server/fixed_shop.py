"""The shop with the original's defects repaired.

An action that is not offered says so and changes nothing. A search needs a search bar, which the first page has, and
its query is words and nothing else. Every page that follows exists, what was chosen shows in every text, and a value
that several options have is clicked as `option: value`. The purchase ends the visit and does not tell its reward.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from turngym.webshop_server.catalogue import Product
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
    Link,
    Page,
    PageKind,
    Part,
    clickables,
)
from turngym.webshop_server.reward import Rule
from turngym.webshop_server.shop import MAX_RESULTS, Move, Shop

DETAILS: tuple[Detail, ...] = ("Description", "Features")
"""There are no reviews in any catalogue."""
MAX_QUERY_CHARS = 500


@dataclass(frozen=True)
class FixedShop(Shop):
    """The shop that the environment uses unless told otherwise."""

    rule: ClassVar[Rule] = "fixed"

    def layout(self, page: Page) -> list[Part]:
        """Return the parts of a page from top to bottom, those without visible text left out."""
        return [part for part in self._parts(page) if part.text.strip()]

    def act(self, page: Page, action: str) -> Move:
        """Return what `search[words]` or `click[text]` leads to; letter case and space around them do not matter."""
        matched = re.fullmatch(r"(search|click)\[([^\n]*)\]", action.strip(), re.IGNORECASE)
        if page.kind is PageKind.DONE:
            return Move(page, "the purchase has ended the visit")
        if matched is None:
            return Move(page, "write search[words] or click[text]")
        name, argument = matched[1].lower(), " ".join(matched[2].lower().split())
        return self._search(page, argument) if name == "search" else self._click(page, argument)

    # Where actions lead -----------------------------------------------------------------------------------------

    def _search(self, page: Page, query: str) -> Move:
        if page.kind is not PageKind.START:
            return Move(page, f"there is no search bar here; click[{BACK_TO_SEARCH}] leads to it")
        if not query:
            return Move(page, "write the words to search for between the brackets")
        if len(query) > MAX_QUERY_CHARS:
            return Move(page, f"a query has at most {MAX_QUERY_CHARS} characters")
        found = tuple(self.search(query, MAX_RESULTS))
        return Move(replace(page, kind=PageKind.RESULTS, keywords=tuple(query.split()), found=found))

    def _click(self, page: Page, argument: str) -> Move:
        clicked = clickables(self.layout(page)).get(argument)
        match clicked:
            case None | Button("Search"):
                return Move(page, "nothing on this page is clicked by that text")
            case Link(asin):
                return Move(replace(page, kind=PageKind.ITEM, asin=asin, chosen={}, visited=page.visited | {asin}))
            case Choice(_, option, value):
                return Move(replace(page, chosen={**page.chosen, option: value}))
            case _:
                return Move(self._pressed(page, clicked.text))

    def _pressed(self, page: Page, button: str) -> Page:
        """Return the page that a button leads to."""
        if button == BACK_TO_SEARCH:
            return replace(self.open(page.goal, page.session), visited=page.visited)
        if button == BUY:
            return replace(page, kind=PageKind.DONE, reward=self.reward(page).total)
        if button == NEXT:
            return replace(page, number=page.number + 1)
        for detail in DETAILS:
            if button == detail:
                return replace(page, kind=PageKind.DETAIL, detail=detail)
        if page.kind is PageKind.DETAIL:
            return replace(page, kind=PageKind.ITEM, detail=None)
        if page.kind is PageKind.ITEM:
            return replace(page, kind=PageKind.RESULTS, asin="", chosen={})
        return replace(page, number=page.number - 1)

    # Layout -----------------------------------------------------------------------------------------------------

    def _parts(self, page: Page) -> Iterator[Part]:
        if page.kind is PageKind.START:
            yield Part("WebShop")
        yield from (Part("Instruction:"), Part(page.goal.instruction))
        if page.kind is PageKind.START:
            yield Button(SEARCH)
            return
        if page.kind is PageKind.DONE:
            yield from (Part("Thank you for shopping with us!"), Part("Purchased"), Part(page.asin))
            yield from (Part(f"{option}: {value}") for option, value in page.chosen.items())
            return
        yield Button(BACK_TO_SEARCH)
        if page.kind is PageKind.RESULTS:
            yield from self._results(page)
            return
        yield Button(PREVIOUS)
        product = self.catalogue[page.asin]
        if page.kind is PageKind.ITEM:
            yield from _item(page, product)
        elif page.detail == "Description":
            yield Part(product.description)
        else:
            yield from map(Part, product.bullet_points)

    def _results(self, page: Page) -> Iterator[Part]:
        yield Part(f"Page {page.number} (Total results: {len(page.found)})")
        if page.number > 1:
            yield Button(PREVIOUS)
        if page.number * RESULTS_PER_PAGE < len(page.found):
            yield Button(NEXT)
        for asin in page.listed:
            product = self.catalogue[asin]
            yield from (Link(asin, asin in page.visited), Part(product.title), Part(product.price_tag))


def _item(page: Page, product: Product) -> Iterator[Part]:
    texts = _texts_of_choices(product)
    for option, values in product.options.items():
        chosen = page.chosen.get(option)
        yield Part(option if chosen is None else f"{option} (chosen: {chosen})")
        for value in dict.fromkeys(values):
            yield Choice(texts[option, value], option, value, value == chosen)
    yield from (Part(product.title), Part(f"Price: {product.price_tag}"))
    yield from map(Button, (*DETAILS, BUY))


def _texts_of_choices(product: Product) -> dict[tuple[str, str], str]:
    """Return by which text each value of each option is clicked: the value, if nothing else is."""
    pairs = {(option, value): " ".join(value.split()) for option, values in product.options.items() for value in values}
    count = Counter(pairs.values())
    count.update(button.lower() for button in (BACK_TO_SEARCH, PREVIOUS, BUY, *DETAILS))
    return {(option, value): text if count[text] == 1 else f"{option}: {text}"
            for (option, value), text in pairs.items()}  # fmt: skip
