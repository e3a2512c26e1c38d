"""Pages: what a shopper sees, as a small immutable state, and the texts rendered from it.

A shop lays a page out as a sequence of parts, from which its texts and what can be clicked are derived. The text forms
are those of the original's environment, which derives them from its HTML: `text` joins the parts with ` [SEP] `,
`text_rich` puts each on a line and marks the buttons.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from turngym.webshop_server.goals import Goal

ORIGIN = "http://127.0.0.1:3000"
"""What the addresses of pages begin with."""
RESULTS_PER_PAGE = 10
SEPARATOR = " [SEP] "

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
    def listed(self) -> tuple[str, ...]:
        """The asins on this page of the results."""
        return self.found[(self.number - 1) * RESULTS_PER_PAGE : self.number * RESULTS_PER_PAGE]

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
    """What it is, for the looks of a page: a class or identifier of the original's HTML, as far as that has one."""


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


# Texts --------------------------------------------------------------------------------------------------------------


def plain_text(parts: Sequence[Part]) -> str:
    """Return the `text` observation."""
    return SEPARATOR.join(part.text.strip() for part in visible(parts))


def quoted_text(parts: Sequence[Part]) -> str:
    """Return the parts below the instruction, each in quotation marks."""
    below = [part for part in visible(parts) if part.role not in {"logo", "instruction"}]
    return SEPARATOR.join(f"'{part.text.strip()}'" for part in below)


def rich_text(parts: Sequence[Part]) -> str:
    """Return the `text_rich` observation; what was chosen is marked, and named at the top, the lowest first."""
    chosen: list[str] = []
    lines: list[str] = []
    for part in visible(parts):
        match part:
            case Button(text):
                lines.append(_marked(text, clicked=False))
            case Link(text, visited):
                lines.append("\n" + _marked(text, clicked=visited))
            case Choice(text, _, _, is_chosen):
                lines.append("  " + _marked(text, clicked=is_chosen))
                if is_chosen:
                    chosen.append(f"You have clicked {text}.")
            case Part(text):
                lines.append(text)
    return "".join(f"{line}\n" for line in [*reversed(chosen), *lines])


def _marked(text: str, *, clicked: bool) -> str:
    return f"[clicked button] {text} [clicked button_]" if clicked else f"[button] {text} [button_]"


def visible(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield the parts that show, as an HTML parser finds them.

    Of a text that is mere space one space is left, and nothing if it has a line break.
    """
    for part in parts:
        if part.text.strip(" \n\t\f\r"):
            yield part
        elif "\n" not in part.text:
            yield Part(" ")


def clickables(parts: Sequence[Part]) -> dict[str, Part]:
    """Return what can be clicked by the text that clicks it, in lower case: buttons, links, then choices.

    Of several with the same text the last one counts, in the place of the first.
    """
    return {part.text.lower(): part for kind in (Button, Link, Choice) for part in parts if isinstance(part, kind)}


def usable_actions(page: Page, parts: Sequence[Part]) -> list[str]:
    """Return the actions that mean something on a page; `search[words]` stands for any search."""
    clicks = [f"click[{text}]" for text in clickables(parts) if text != SEARCH.lower()]
    return ["search[words]", *clicks] if page.kind is PageKind.START else clicks
