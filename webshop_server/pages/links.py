"""What can be clicked on a page, and where it leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from turngym.webshop_server.pages.page import (
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
)

_DETAILS: tuple[Detail, ...] = get_args(Detail)


def clickables(parts: Sequence[Part]) -> dict[str, Part]:
    """Return what can be clicked by the text that clicks it, in lower case: buttons, links, then choices.

    Of several with the same text the last one counts, in the place of the first.
    """
    found: dict[type[Part], dict[str, Part]] = {Button: {}, Link: {}, Choice: {}}
    for part in parts:
        of_kind = found.get(type(part))
        if of_kind is not None:
            of_kind[part.text.lower()] = part
    return {**found[Button], **found[Link], **found[Choice]}


def usable_actions(page: Page, parts: Sequence[Part]) -> list[str]:
    """Return the actions that mean something on a page; `search[words]` stands for any search."""
    clicks = [f"click[{text}]" for text in clickables(parts) if text != SEARCH.lower()]
    return ["search[words]", *clicks] if page.kind is PageKind.START else clicks


def target_of(page: Page, part: Part) -> Page:
    """Return the page that a button, link or choice of a page leads to, before anything is bought there.

    Raises:
        ValueError: The part leads nowhere.
    """
    match part:
        case Link(asin):
            return replace(page, kind=PageKind.ITEM, asin=asin, chosen={}, visited=page.visited | {asin})
        case Choice(_, option, value):
            return replace(page, kind=PageKind.ITEM, chosen={**page.chosen, option: value})
        case Button(text):
            return _pressed(page, text)
    raise ValueError(f"{part.text!r} leads nowhere")


def _pressed(page: Page, button: str) -> Page:
    """Return the page that a button leads to."""
    if button == BACK_TO_SEARCH:
        return Page(session=page.session, goal=page.goal, visited=page.visited)
    if button == BUY:
        return replace(page, kind=PageKind.DONE)
    if button == NEXT:
        return replace(page, number=page.number + 1)
    for detail in _DETAILS:
        if button == detail:
            return replace(page, kind=PageKind.DETAIL, detail=detail)
    if button != PREVIOUS:
        raise ValueError(f"{button!r} leads nowhere")
    if page.kind is PageKind.DETAIL:
        return replace(page, kind=PageKind.ITEM, detail=None)
    if page.kind is PageKind.ITEM:
        return replace(page, kind=PageKind.RESULTS, asin="", chosen={})
    return replace(page, number=page.number - 1)
