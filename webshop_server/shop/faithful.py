"""The shop as the original's text environment is, every oddity included, so that its published scores can be compared.

A search is taken on every page; an action that means nothing changes nothing; tags at the beginning of a query list the
catalogue; there is always a next page; a purchase ends nothing and shows its reward.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

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
    target_of,
)
from turngym.webshop_server.product import Product
from turngym.webshop_server.settings import Mode
from turngym.webshop_server.shop.shop import MAX_RESULTS, Move, Shop, listing

DETAILS: tuple[Detail, ...] = get_args(Detail)
INERT = "this action does nothing here"


@dataclass(frozen=True)
class FaithfulShop(Shop):
    """The original's shop."""

    mode: ClassVar[Mode] = "faithful"

    def layout(self, page: Page) -> list[Part]:
        """Return the parts of a page from top to bottom, those without text left out."""
        return [part for part in self._parts(page) if part.text]

    def act(self, page: Page, action: str, parts: Sequence[Part] | None = None) -> Move:
        """Return what `search[words]` or `click[text]` leads to.

        What stands before the last pair of brackets must be the name, in lower case; what follows them is ignored.
        """
        name, argument = name_and_argument(action)
        argument = argument.lower()
        if name == "search":
            return self.look_for(page, argument)
        if name == "click" and argument != SEARCH.lower():
            clicked = clickables(self.layout(page) if parts is None else parts).get(argument)
            if clicked is not None:
                return Move(self._clicked(page, argument, clicked))
        return Move(page, INERT)

    def look_for(self, page: Page, query: str) -> Move:
        """Return what a search leads to, on whichever page."""
        return Move(self._searched(page, tuple(query.lower().split(" "))))

    def follow(self, page: Page, part: Part) -> Page:
        """Return the page that a button, link or choice leads to; the way back to results is a new search."""
        target = super().follow(page, part)
        if target.kind is PageKind.START:
            return self.open(page.goal, page.session)
        return self._searched(target, target.keywords, target.number) if target.kind is PageKind.RESULTS else target

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
        if isinstance(clicked, Link | Choice):
            page = target_of(page, clicked)
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
                rng = random.Random(page.url.encode("utf-8", "surrogatepass"))
                return tuple(rng.sample(asins, min(MAX_RESULTS, len(asins))))
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
            yield Part("WebShop", role="logo")
            yield from (Part("Instruction: ", role="instruction"), Part(page.goal.instruction, role="instruction"))
            yield Button(SEARCH)
            return
        yield from (Part("Instruction:", role="instruction"), Part(page.goal.instruction, role="instruction"))
        yield Button(BACK_TO_SEARCH)
        if page.kind is PageKind.RESULTS:
            yield from self._results(page)
        elif page.kind is PageKind.ITEM:
            yield from _item(page, self.catalogue[page.asin])
        else:
            yield from _detail(page, self.catalogue[page.asin])

    def _results(self, page: Page) -> Iterator[Part]:
        yield Part(f"Page {page.number} (Total results: {len(page.found)})", role="count")
        if page.number > 1:
            yield Button(PREVIOUS)
        yield Button(NEXT)
        for asin in page.listed:
            yield from listing(self.catalogue[asin], visited=asin in page.visited)


def name_and_argument(action: str) -> tuple[str, str]:
    r"""Return what `(.+)\[(.+)\]`, the original's expression, finds, in linear time; two empty texts for nothing."""
    line = action.split("\n", 1)[0]
    closing = line.rfind("]")
    opening = line.rfind("[", 1, max(1, closing - 1))
    return (line[:opening], line[opening + 1 : closing]) if opening > 0 else ("", "")


def _item(page: Page, product: Product) -> Iterator[Part]:
    yield Button(PREVIOUS)
    url = page.url
    for name, values in product.options.items():
        yield Part(name, role="option")
        for value in values:
            yield Choice(value, name, value, f'"{value}"' in url)
    yield from (Part(product.title, role="title"), Part(f"Price: {product.price_tag}", role="price"))
    yield Part("Rating: N.A.", role="rating")
    yield from map(Button, (*DETAILS, BUY))


def _detail(page: Page, product: Product) -> Iterator[Part]:
    yield Button(PREVIOUS)
    if page.detail == "Description":
        yield Part(product.description, role="product-info")
    elif page.detail == "Features":
        for bullet_point in product.bullet_points:
            yield Part(f" {bullet_point}", role="product-info")


def _receipt(page: Page) -> Iterator[Part]:
    """Yield the parts of the receipt, made for paid workers; most are empty in the original's text environment."""
    chosen = json.dumps(dict(page.chosen), sort_keys=True)
    for character in "<>&'":
        chosen = chosen.replace(character, f"\\u{ord(character):04x}")
    yield Part("Thank you for shopping with us!", role="thankyou")
    for role, label, value in (
        ("mturk_code", "Your code: ", "None"),
        ("mturk_code", " (Paste it in your MTurk interface.)", ""),
        ("", "Purchased", ""),
        ("asin", "asin", page.asin),
        ("options", "options", chosen),
        ("purchased_attrs", "attrs", "None"),
        ("purchased-category", "category", "None"),
        ("purchased-query", "query", "None"),
        ("purchased-pc", "product category", "None"),
        ("", "Target", ""),
        ("goal-asin", "asin", ""),
        ("goal-options", "options", ""),
        ("goal-attrs", "attrs", ""),
        ("goal-price", "price upper", ""),
        ("goal-instruction-text", "instuction text", ""),
        ("goal-category", "category", ""),
        ("goal-pc", "product category", ""),
        ("goal-query", "query", ""),
        ("goal", "Goal ", "None"),
        ("", "Reward", ""),
        ("reward", "Your score (min 0.0, max 1.0)", str(page.reward)),
        ("reward_info", "Reward Details ", "None"),
    ):
        yield from (Part(label, role=role), Part(value, role=role))


def _kind_by_address(url: str) -> PageKind:
    """Return the kind that the original derives from an address.

    It looks for the name of a kind anywhere in it: a search for `item_page` makes results look like a product.
    """
    kinds = (PageKind.RESULTS, PageKind.ITEM, PageKind.DETAIL, PageKind.DONE)
    return next((kind for kind in kinds if kind in url), PageKind.START)
