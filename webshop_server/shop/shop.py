"""A shop: the rules by which an action leads from page to page. It is immutable, so that all sessions share one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

from turngym.webshop_server.goals import Draws, Goal
from turngym.webshop_server.pages import (
    Link,
    Page,
    PageKind,
    Part,
    target_of,
)
from turngym.webshop_server.product import Product
from turngym.webshop_server.reward import NounExtractor, Reward, reward_of, words_as_nouns
from turngym.webshop_server.settings import Mode

MAX_RESULTS = 50
"""How many products a search finds at most."""
ENDED = "the purchase has ended the session"
"""The reason given for refusing an action after the purchase."""
CACHED_PRODUCTS = 1 << 10
"""Of how many products parts of pages are kept, which are the same for all who shop."""

Search = Callable[[str, int], Sequence[str]]
"""Gives the asins that a query finds, best first, at most so many."""


@dataclass(frozen=True, slots=True)
class Move:
    """What an action led to."""

    page: Page
    problem: str = ""
    """Why the action means nothing here; then the page is as before."""


@dataclass(frozen=True)
class Shop(ABC):
    """A shop.

    Args:
        catalogue: Its products by asin.
        search: Finds products.
        draws: Prices within ranges.
        nouns: Finds the nouns of titles, for the reward.
    """

    catalogue: Mapping[str, Product]
    search: Search
    draws: Draws
    nouns: NounExtractor = words_as_nouns
    mode: ClassVar[Mode]
    """How it rewards a purchase."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: copies of an environment share the shop."""
        return self

    def open(self, goal: Goal, session: str) -> Page:
        """Return the page on which a shopper with a goal begins."""
        return Page(session=session, goal=goal)

    @abstractmethod
    def layout(self, page: Page) -> list[Part]:
        """Return the parts of a page from top to bottom."""

    @abstractmethod
    def act(self, page: Page, action: str, parts: Sequence[Part] | None = None) -> Move:
        """Return what `search[words]` or `click[text]` leads to.

        Args:
            page: Where the shopper stands.
            action: What is done there.
            parts: The layout of the page, if it is at hand; a click is looked up in it.
        """

    @abstractmethod
    def look_for(self, page: Page, query: str) -> Move:
        """Return what a search on a page leads to."""

    def follow(self, page: Page, part: Part) -> Page:
        """Return the page that a button, link or choice leads to; a purchase has its reward."""
        target = target_of(page, part)
        return replace(target, reward=self.reward(target).total) if target.kind is PageKind.DONE else target

    def reward(self, page: Page) -> Reward:
        """Return the reward, with all its parts, of buying the product of a page with what is chosen there.

        Raises:
            KeyError: The page shows no product.
            RewardError: The goal is none that the shop draws.
        """
        product = self.catalogue[page.asin]
        return reward_of(product, self.price(page), page.chosen, page.goal, nouns=self.nouns, mode=self.mode)

    def price(self, page: Page) -> float:
        """Return the price of the product of a page, in dollars, that the reward counts: one, where it has a range."""
        return self.draws.price(self.catalogue[page.asin])

    def cost(self, page: Page) -> float | None:
        """Return what buying the product of a page as it is chosen costs, in dollars; None where that is open.

        Whatever is chosen, the price is the same: of a range one was drawn for the product, and options change nothing.
        It is told when nothing is left to choose, or with the purchase.
        """
        if not page.asin:
            return None
        options = self.catalogue[page.asin].options
        to_choose = any(values and option not in page.chosen for option, values in options.items())
        return None if to_choose and page.kind is not PageKind.DONE else self.price(page)

    def worth(self, page: Page) -> Reward | None:
        """Return what buying the product of a page as it is chosen would earn; None where there is none."""
        return self.reward(page) if page.asin else None


def listing(product: Product, *, visited: bool) -> tuple[Part, ...]:
    """Return the link, the title and the price of a result; `visited` says whether it was looked at before."""
    return _listing(product.asin, visited, product.title, product.price_tag)


@lru_cache(maxsize=CACHED_PRODUCTS)
def _listing(asin: str, visited: bool, title: str, price_tag: str) -> tuple[Part, ...]:
    return Link(asin, visited), Part(title, role="product-title"), Part(price_tag, role="product-price")
