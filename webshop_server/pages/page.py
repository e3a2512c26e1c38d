"""Pages: what a shopper sees, as a small immutable state.

A shop lays a page out as a sequence of parts, such as a title, a button and the link to a product. Texts, HTML and what
can be clicked are derived from the parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from turngym.webshop_server.goals import Goal

ORIGIN = "http://127.0.0.1:3000"
"""What the addresses of pages begin with."""
RESULTS_PER_PAGE = 10

SEARCH, BACK_TO_SEARCH, PREVIOUS, NEXT, BUY = "Search", "Back to Search", "< Prev", "Next >", "Buy Now"
Detail = Literal["Description", "Features", "Reviews"]


class PageKind(StrEnum):
    """What a page shows; the values are the beginnings of the original's addresses."""

    START = ""
    RESULTS = "search_results"
    ITEM = "item_page"
    DETAIL = "item_sub_page"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Page:
    """Where a shopper stands. Nothing else is remembered between two actions."""

    session: str
    goal: Goal
    """What is wanted; only its instruction is ever shown."""
    kind: PageKind = PageKind.START
    keywords: tuple[str, ...] = ()
    """What was searched for."""
    number: int = 1
    """Which page of the results, from 1."""
    found: tuple[str, ...] = ()
    """The asins of all results, best first."""
    asin: str = ""
    """The product looked at."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """The chosen values by option, in the order in which they were chosen."""
    detail: Detail | None = None
    """Which of the product's texts is shown."""
    visited: frozenset[str] = frozenset()
    """The asins of products looked at since the search began anew."""
    reward: float | None = None
    """What the purchase was worth, in [0, 1]."""

    @property
    def first(self) -> int:
        """The number of the first result on this page, counted over all pages of the results from 1."""
        return (self.number - 1) * RESULTS_PER_PAGE + 1

    @property
    def listed(self) -> tuple[str, ...]:
        """The asins on this page of the results."""
        return self.found[self.first - 1 : self.number * RESULTS_PER_PAGE]

    @property
    def url(self) -> str:
        """The address of the page in the original's environment."""
        keywords = "+".join(self.keywords)
        chosen = dict(self.chosen)
        parts: tuple[object, ...]
        match self.kind:
            case PageKind.START:
                return f"{ORIGIN}/{self.session}"
            case PageKind.RESULTS:
                parts = (keywords, self.number)
            case PageKind.ITEM:
                parts = (self.asin, keywords, self.number, json.dumps(chosen))
            case PageKind.DETAIL:
                parts = (self.asin, keywords, self.number, self.detail, chosen)
            case PageKind.DONE:
                parts = (self.asin, chosen)
        return "/".join(map(str, (ORIGIN, self.kind, self.session, *parts)))


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of text on a page."""

    text: str
    role: str = field(default="", kw_only=True)
    """What it is, such as `product-title`: a class or identifier of the original's HTML, where that has one."""


@dataclass(frozen=True, slots=True)
class Button(Part):
    """A button, clicked by its text."""


@dataclass(frozen=True, slots=True)
class Link(Part):
    """A link to a product, by its asin."""

    visited: bool
    """Whether the product was looked at before."""


@dataclass(frozen=True, slots=True)
class Choice(Part):
    """A value of an option, to be chosen."""

    option: str
    value: str
    chosen: bool
