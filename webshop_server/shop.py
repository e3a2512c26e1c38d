"""What every shop is: rules that lead from page to page. It holds nothing that changes, so one serves all shoppers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

from turngym.webshop_server.catalogue import Product
from turngym.webshop_server.goals import Draws, Goal
from turngym.webshop_server.nouns import words_as_nouns
from turngym.webshop_server.pages import (
    BACK_TO_SEARCH,
    BUY,
    NEXT,
    PREVIOUS,
    Button,
    Choice,
    Detail,
    Link,
    Page,
    PageKind,
    Part,
)
from turngym.webshop_server.reward import NounExtractor, Reward, Rule, reward_of

MAX_RESULTS = 50
"""How many products a search finds at most."""
ENDED = "the purchase has ended the visit"
"""Why nothing is possible after it."""

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
    rule: ClassVar[Rule]
    """How it rewards a purchase."""

    def open(self, goal: Goal, session: str) -> Page:
        """Return the page on which a shopper with a goal begins."""
        return Page(session=session, goal=goal)

    @abstractmethod
    def layout(self, page: Page) -> list[Part]:
        """Return the parts of a page from top to bottom."""

    @abstractmethod
    def act(self, page: Page, action: str) -> Move:
        """Return what `search[words]` or `click[text]` leads to."""

    @abstractmethod
    def look_for(self, page: Page, query: str) -> Move:
        """Return what a search on a page leads to."""

    def follow(self, page: Page, part: Part) -> Page:
        """Return the page that a button, link or choice leads to; a purchase has its reward."""
        target = self.target(page, part)
        return replace(target, reward=self.reward(target).total) if target.kind is PageKind.DONE else target

    def target(self, page: Page, part: Part) -> Page:
        """Return the page that a button, link or choice leads to, before anything is bought there.

        Raises:
            ValueError: The part leads nowhere.
        """
        match part:
            case Link(asin):
                return replace(page, kind=PageKind.ITEM, asin=asin, chosen={}, visited=page.visited | {asin})
            case Choice(_, option, value):
                return replace(page, kind=PageKind.ITEM, chosen={**page.chosen, option: value})
            case Button(text):
                return self._pressed(page, text)
        raise ValueError(f"{part.text!r} leads nowhere")

    def _pressed(self, page: Page, button: str) -> Page:
        """Return the page that a button leads to."""
        if button == BACK_TO_SEARCH:
            return replace(self.open(page.goal, page.session), visited=page.visited)
        if button == BUY:
            return replace(page, kind=PageKind.DONE)
        if button == NEXT:
            return replace(page, number=page.number + 1)
        for detail in get_args(Detail):
            if button == detail:
                return replace(page, kind=PageKind.DETAIL, detail=detail)
        if button != PREVIOUS:
            raise ValueError(f"{button!r} leads nowhere")
        if page.kind is PageKind.DETAIL:
            return replace(page, kind=PageKind.ITEM, detail=None)
        if page.kind is PageKind.ITEM:
            return replace(page, kind=PageKind.RESULTS, asin="", chosen={})
        return replace(page, number=page.number - 1)

    def reward(self, page: Page) -> Reward:
        """Return the reward, with all its parts, of buying the product of a page with what is chosen there.

        Raises:
            KeyError: The page shows no product.
            RewardError: The goal is none that the shop draws.
        """
        product = self.catalogue[page.asin]
        return reward_of(product, self.draws.price(product), page.chosen, page.goal, nouns=self.nouns, rule=self.rule)

    def potential(self, page: Page) -> float:
        """Return what buying the product of a page as it is chosen would be worth, in [0, 1]; 0 where there is none."""
        return self.reward(page).total if page.asin else 0.0
