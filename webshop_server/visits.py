"""A visit to a shop: where a shopper stands, and what becomes of an action. The shop can be here or on a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from turngym.webshop_server.html import page_html
from turngym.webshop_server.pages import Page, Part
from turngym.webshop_server.reward import Rule
from turngym.webshop_server.shop import Shop

Split = Literal["train", "validation", "test"]


class Visit(Protocol):
    """A visit."""

    @property
    def page(self) -> Page:
        """Where the shopper stands."""

    @property
    def parts(self) -> Sequence[Part]:
        """What the page shows, from top to bottom."""

    @property
    def html(self) -> str:
        """The page as HTML."""

    @property
    def potential(self) -> float:
        """What buying the product of the page as it is chosen would be worth, in [0, 1]; 0 where there is none."""

    def act(self, action: str) -> str:
        """Do `search[words]` or `click[text]`; return why it means nothing here, or nothing."""

    def end(self) -> None:
        """Leave the shop."""


class Venue(Protocol):
    """A shop with goals that can be visited."""

    @property
    def mode(self) -> Rule:
        """Whether it is `faithful` to the original, or `fixed`."""

    def goal_number(self, split: Split, index: int) -> int:
        """Return the number of goal `index` of a split in the fixed order."""

    def search(self, query: str, limit: int) -> Sequence[str]:
        """Return the asins that a query finds, best first, at most so many."""

    def visit(self, number: int) -> Visit:
        """Begin a visit with a goal."""


class LocalVisit:
    """A visit to a shop in this process; implements `Visit`.

    Args:
        shop: The shop.
        page: Where the visit begins.
    """

    def __init__(self, shop: Shop, page: Page) -> None:
        self.shop = shop
        self.page = page
        self._parts: tuple[Page, list[Part]] | None = None

    @property
    def parts(self) -> list[Part]:
        """What the page shows, from top to bottom."""
        if self._parts is None or self._parts[0] is not self.page:
            self._parts = (self.page, self.shop.layout(self.page))
        return self._parts[1]

    @property
    def html(self) -> str:
        """The page as HTML."""
        return page_html(self.shop, self.page)

    @property
    def potential(self) -> float:
        """What buying the product of the page as it is chosen would be worth, in [0, 1]; 0 where there is none."""
        return self.shop.potential(self.page)

    def act(self, action: str) -> str:
        """Do `search[words]` or `click[text]`; return why it means nothing here, or nothing."""
        move = self.shop.act(self.page, action)
        self.page = move.page
        return move.problem

    def end(self) -> None:
        """Leave the shop, which takes no notice."""
