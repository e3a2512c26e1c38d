"""The shop as the original's text environment is, every oddity included, so that its published scores can be compared.

A search is taken on every page; an action that means nothing changes nothing; tags at the beginning of a query list the
catalogue; there is always a next page; a purchase ends nothing and shows its reward.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

from turngym.webshop_server.catalogue import Product
from turngym.webshop_server.pages import (
    BACK_TO_SEARCH,
    BUY,
    NEXT,
    PREVIOUS,
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

DETAILS: tuple[Detail, ...] = get_args(Detail)
INERT = "this action does nothing here"


@dataclass(frozen=True)
class FaithfulShop(Shop):
    """The original's shop."""

    rule: ClassVar[Rule] = "faithful"

    def layout(self, page: Page) -> list[Part]:
        """Return the parts of a page from top to bottom, those without text left out."""
        return [part for part in self._parts(page) if part.text]

    def act(self, page: Page, action: str) -> Move:
        """Return what `search[words]` or `click[text]` leads to.

        What stands before the last pair of brackets must be the name, in lower case; what follows them is ignored.
        """
        matched = re.match(r"(.+)\[(.+)\]", action)
        if matched is None:
            return Move(page, INERT)
        name, argument = matched[1], matched[2].lower()
        if name == "search":
            return Move(self._searched(page, tuple(argument.split(" "))))
        if name == "click" and argument != SEARCH.lower():
            clicked = clickables(self.layout(page)).get(argument)
            if clicked is not None:
                return Move(self._clicked(page, argument, clicked))
        return Move(page, INERT)

    # Where actions lead -----------------------------------------------------------------------------------------

    def _clicked(self, page: Page, argument: str, clicked: Part) -> Page:
        if argument == BUY.lower():
            return replace(page, kind=PageKind.DONE, reward=self.reward(page).total)
        if argument == BACK_TO_SEARCH.lower():
            return self.open(page.goal, page.session)
        seems = _kind_by_address(page.url)
        if argument == NEXT.lower() and seems is PageKind.RESULTS:
            return self._searched(page, page.keywords, page.number + 1)
        if argument == PREVIOUS.lower() and seems is PageKind.RESULTS:
            return self._searched(page, page.keywords, page.number - 1)
        if argument == PREVIOUS.lower() and seems is PageKind.ITEM:
            return self._searched(page, page.keywords, page.number)
        for detail in DETAILS:
            if argument == detail.lower():
                return replace(page, kind=PageKind.DETAIL, detail=detail)
        if isinstance(clicked, Link):
            page = replace(page, asin=clicked.text, visited=page.visited | {clicked.text})
        elif isinstance(clicked, Choice):
            page = replace(page, chosen={**page.chosen, clicked.option: clicked.value})
        return replace(page, kind=PageKind.ITEM, detail=None)

    def _searched(self, page: Page, keywords: tuple[str, ...], number: int = 1) -> Page:
        return replace(page, kind=PageKind.RESULTS, keywords=keywords, number=number, found=self._found(page, keywords),
                       asin="", chosen={}, detail=None)  # fmt: skip

    def _found(self, page: Page, keywords: tuple[str, ...]) -> tuple[str, ...]:
        """Return what a query finds; the tags are the original's, of which `<a>` makes it fail."""
        rest = " ".join(keywords[1:]).strip()
        match keywords[0]:
            case "<q>":
                return tuple(asin for asin, product in self.catalogue.items() if product.query == rest)
            case "<c>":
                category = keywords[1].strip() if len(keywords) > 1 else ""
                return tuple(asin for asin, product in self.catalogue.items() if product.category == category)
            case "<r>":
                asins = list(self.catalogue)
                return tuple(random.Random(page.url).sample(asins, min(MAX_RESULTS, len(asins))))
            case "<a>":
                return ()
            case _:
                return tuple(self.search(" ".join(keywords), MAX_RESULTS))

    # Layout -----------------------------------------------------------------------------------------------------

    def _parts(self, page: Page) -> Iterator[Part]:
        if page.kind is PageKind.DONE:
            yield from _receipt(page)
            return
        if page.kind is PageKind.START:
            yield from (Part("WebShop"), Part("Instruction: "), Part(page.goal.instruction), Button(SEARCH))
            return
        yield from (Part("Instruction:"), Part(page.goal.instruction), Button(BACK_TO_SEARCH))
        if page.kind is PageKind.RESULTS:
            yield from self._results(page)
        elif page.kind is PageKind.ITEM:
            yield from _item(page, self.catalogue[page.asin])
        else:
            yield from _detail(page, self.catalogue[page.asin])

    def _results(self, page: Page) -> Iterator[Part]:
        yield Part(f"Page {page.number} (Total results: {len(page.found)})")
        if page.number > 1:
            yield Button(PREVIOUS)
        yield Button(NEXT)
        for asin in page.listed:
            product = self.catalogue[asin]
            yield from (Link(asin, asin in page.visited), Part(product.title), Part(product.price_tag))


def _item(page: Page, product: Product) -> Iterator[Part]:
    yield Button(PREVIOUS)
    url = page.url
    for name, values in product.options.items():
        yield Part(name)
        for value in values:
            yield Choice(value, name, value, f'"{value}"' in url)
    yield from (Part(product.title), Part(f"Price: {product.price_tag}"), Part("Rating: N.A."))
    yield from map(Button, (*DETAILS, BUY))


def _detail(page: Page, product: Product) -> Iterator[Part]:
    yield Button(PREVIOUS)
    if page.detail == "Description":
        yield Part(product.description)
    elif page.detail == "Features":
        for bullet_point in product.bullet_points:
            yield Part(f" {bullet_point}")


def _receipt(page: Page) -> Iterator[Part]:
    """Yield what was meant for paid workers; most of its fields are empty in the text environment."""
    chosen = json.dumps(dict(page.chosen), sort_keys=True)
    for character in "<>&'":
        chosen = chosen.replace(character, f"\\u{ord(character):04x}")
    texts = ["Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)",
             "Purchased", "asin", page.asin, "options", chosen]  # fmt: skip
    for empty in ("attrs", "category", "query", "product category"):
        texts += [empty, "None"]
    texts += ["Target", "asin", "options", "attrs", "price upper", "instuction text", "category", "product category",
              "query", "Goal ", "None", "Reward", "Your score (min 0.0, max 1.0)", str(page.reward),
              "Reward Details ", "None"]  # fmt: skip
    yield from map(Part, texts)


def _kind_by_address(url: str) -> PageKind:
    """Return what the original takes a page for: it looks for the kinds anywhere in the address, keywords included."""
    kinds = (PageKind.RESULTS, PageKind.ITEM, PageKind.DETAIL, PageKind.DONE)
    return next((kind for kind in kinds if kind in url), PageKind.START)
