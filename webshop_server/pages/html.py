"""Pages as HTML, with the identifiers, classes and texts of the original's, for its clients and for people.

The visible texts of a page are the parts that its shop lays out, each whole and in one element, so that a client that
gathers them reads the `text` observation. What else a page shows to people comes from the style sheet: prices to the
cent, as a site writes them beside the parts, stand in the place of those that agents read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

from turngym.webshop_server.pages.addresses import path_of
from turngym.webshop_server.pages.links import target_of
from turngym.webshop_server.pages.page import BUY, SEARCH, Button, Choice, Link, Page, Part
from turngym.webshop_server.product import with_cents
from turngym.webshop_server.reward import Reward

STATIC = Path(__file__).parent / "static"
"""The folder of the style sheet and the script of pages, which a site serves as `/static`."""


@dataclass
class Group:
    """Successive parts of a page that belong together."""

    role: str
    """What they are: the role of the parts, or `search`, `buttons`, `product` or `choices`."""
    parts: list[tuple[Part, str]] = field(default_factory=list)
    """The parts, each with the path that it leads to, if it leads anywhere."""


def page_html(
    page: Page,
    parts: Sequence[Part],
    *,
    session: str | None = None,
    reward: Reward | None = None,
    cost: float | None = None,
    token: str | None = None,
) -> str:
    """Return a page as an HTML document.

    Args:
        page: The page.
        parts: What it shows, from top to bottom, as its shop lays it out.
        session: What links call the session on a site, which writes prices for people too and leads on after a
            purchase; the page's own name for it if None.
        reward: What the purchase was worth, to be shown after it; None to leave that to the shop.
        cost: What the product costs as it is chosen, in dollars, to be shown to people where that is one price of a
            range; None where it is not known yet.
        token: What the button that buys sends along, so that a site knows its own page; None for nothing.
    """
    context = page_context(page, parts, session=session, reward=reward, cost=cost)
    html: str = environment().get_template("page.html").render(context, token=token)
    return html


def page_picture(page: Page, parts: Sequence[Part]) -> str:
    """Return a page as an HTML document to look at: whole in itself, without script, and nothing in it can be pressed.

    Args:
        page: The page.
        parts: What it shows, from top to bottom, as its shop lays it out.
    """
    html: str = (
        environment().get_template("picture.html").render(page_context(page, parts) | {"still": True}, style=_style())
    )
    return html


@cache
def _style() -> Markup:
    return Markup((STATIC / "shop.css").read_text(encoding="utf-8"))  # noqa: S704 - a file of this package


def page_context(
    page: Page,
    parts: Sequence[Part],
    *,
    session: str | None = None,
    reward: Reward | None = None,
    cost: float | None = None,
) -> dict[str, Any]:
    """Return what the template of a page reads; the arguments are those of `page_html`."""
    on_site, session = session is not None, page.session if session is None else session
    groups = list(_groups(page, parts, session))
    start = path_of(Page(session=session, goal=page.goal), session)
    if any(group.role == "reward" for group in groups):  # the shop has said it
        reward = None
    return {"kind": page.kind.name.lower(), "groups": groups, "start": start, "reward": reward, "cost": cost,
            "on_site": on_site, "token": None, "still": False}  # fmt: skip


@cache
def environment() -> Environment:
    """Return the environment of all templates: escaping, strict, and without white space between elements.

    It finds those of this room; a room above adds its own with `environment().overlay(loader=...)`.
    """
    made = Environment(
        loader=PackageLoader("turngym.webshop_server.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=[_Compact],
        auto_reload=False,
    )
    made.filters.update(price=_price, dollars=_dollars)
    return made


def _price(text: str, cost: float | None = None) -> str:
    """Return a price as people read it: to the cent, and before a range what the product costs as it is chosen."""
    text = with_cents(text)
    label, _, tag = text.rpartition(": ")
    return f"{label}: {_dollars(cost)} (range {tag})" if cost is not None and " to " in tag else text


def _dollars(amount: float) -> str:
    """Return an amount to the cent, rounded up: it is above a bound of whole dollars where the amount is."""
    return f"${math.ceil(round(100 * amount, 6)) / 100:.2f}"


class _Compact(Extension):
    """Takes line breaks and indentation out of templates; white space would count as text of the page."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return "".join(line.strip() for line in source.splitlines())


def _groups(page: Page, parts: Sequence[Part], session: str) -> Iterator[Group]:
    group = Group("")
    for part in parts:
        role = _role(part)
        within_product = group.role == "product" and role in {"product-title", "product-price"}
        if (role != group.role or role == "product") and not within_product:
            if group.parts:
                yield group
            group = Group(role)
        leads = isinstance(part, Button | Link | Choice) and role != "search"
        group.parts.append((part, path_of(target_of(page, part), session) if leads else ""))
    if group.parts:
        yield group


def _role(part: Part) -> str:
    match part:
        case Button(text) if text == SEARCH:
            return "search"
        case Button(text):
            return "purchase" if text == BUY else "buttons"
        case Link():
            return "product"
        case Choice():
            return "choices"
    return part.role
