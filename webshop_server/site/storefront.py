"""The pages of the shop, under the addresses of the original's site.

An address leads only to what its session was offered: nothing can be bought that was not looked at.
"""

from __future__ import annotations

import re
from typing import get_args

from flask import Blueprint, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from turngym.webshop_server.pages import (
    Address,
    AddressError,
    Detail,
    PageKind,
    page_html,
    path_of,
    read_keywords,
    read_number,
    read_options,
)
from turngym.webshop_server.shop import MAX_QUERY_CHARS
from turngym.webshop_server.site.sessions import SiteSession
from turngym.webshop_server.site.state import html_answer, session_or_404, site

SESSION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
GOAL_IN_NAME = re.compile(r".*fixed.*_([0-9]{1,9})")
"""A session with such a name gets the goal of that number: `fixed_12` gets goal 12."""

storefront = Blueprint("storefront", __name__)


@storefront.get("/")
def home() -> AnyResponse:
    """Begin a session."""
    return _to_page(site().sessions.create())


@storefront.get("/health")
def health() -> Response:
    """Say that the site is up."""
    return Response("ok\n", mimetype="text/plain")


@storefront.get("/favicon.ico")
@storefront.get("/robots.txt")
def nothing() -> Response:
    """Answer what browsers and robots ask for on their own."""
    return Response(status=204)


@storefront.route("/<name>", methods=["GET", "POST"])
def index(name: str) -> AnyResponse:
    """Show the search page, or search."""
    session = site().sessions.get(name) or _named(name)
    query = request.form.get("search_query") if request.method == "POST" else None
    with session.lock:
        if query is None:
            return _shown(session, Address())
        _search(session, query)
        return _to_page(session)


@storefront.route("/search_results/<name>/<path:keywords>/<number>", methods=["GET", "POST"])
def search_results(name: str, keywords: str, number: str) -> AnyResponse:
    """Show results that the session has found, or search for keywords that are new to it."""
    try:
        address = Address(PageKind.RESULTS, keywords=read_keywords(keywords), number=read_number(number))
    except AddressError as error:
        abort(400, str(error))
    session = session_or_404(name)
    with session.lock:
        if address.number == 1 and not session.knows(address):
            _search(session, " ".join(address.keywords))
            return _answer(session)
        return _shown(session, address)


@storefront.route("/item_page/<name>/<asin>/<path:keywords>/<number>/<path:options>", methods=["GET", "POST"])
def item_page(name: str, asin: str, keywords: str, number: str, options: str) -> AnyResponse:
    """Show a product, with what is chosen."""
    return _product(PageKind.ITEM, name, asin, keywords=keywords, number=number, options=options)


@storefront.route(
    "/item_sub_page/<name>/<asin>/<path:keywords>/<number>/<detail>/<path:options>", methods=["GET", "POST"]
)
def item_sub_page(name: str, asin: str, **parts: str) -> AnyResponse:
    """Show a text of a product."""
    if parts["detail"] not in get_args(Detail):
        abort(404, f"A product has the pages {', '.join(get_args(Detail))}.")
    return _product(PageKind.DETAIL, name, asin, **parts)


@storefront.route("/done/<name>/<asin>/<path:options>", methods=["GET", "POST"])
def done(name: str, asin: str, options: str) -> AnyResponse:
    """Buy a product as it was looked at."""
    return _product(PageKind.DONE, name, asin, options=options)


def _named(name: str) -> SiteSession:
    """Begin a session that a client names itself, where that is allowed."""
    if not site().settings.client_names:
        session_or_404(name)
    if not SESSION_NAME.fullmatch(name):
        abort(404, "A session has a name of at most 64 letters, digits, - and _.")
    goal = GOAL_IN_NAME.fullmatch(name)
    try:
        return site().sessions.create(None if goal is None else int(goal[1]), name)
    except ValueError as error:
        abort(404, str(error))


def _product(
    kind: PageKind, name: str, asin: str, *, options: str, keywords: str = "", number: str = "1", detail: str = ""
) -> AnyResponse:
    try:
        words = read_keywords(keywords) if keywords else ()
        chosen = frozenset(read_options(options).items())
        address = Address(kind, words, read_number(number), asin, chosen, detail)
    except AddressError as error:
        abort(400, str(error))
    session = session_or_404(name)
    with session.lock:
        return _shown(session, address)


def _search(session: SiteSession, query: str) -> None:
    if len(query) > MAX_QUERY_CHARS:
        abort(400, f"A query has at most {MAX_QUERY_CHARS} characters.")
    if problem := session.search(query):
        abort(400, f"{problem[0].upper()}{problem[1:]}.")


def _shown(session: SiteSession, address: Address) -> AnyResponse:
    """Answer with the page of an address; after the purchase, with the way to the receipt."""
    if not session.go_to(address):
        abort(404, "No link of this session leads here.")
    if session.bought and address.kind is not PageKind.DONE:
        return _to_page(session)
    return _answer(session)


def _to_page(session: SiteSession) -> AnyResponse:
    return redirect(path_of(session.page, session.name), 303)


def _answer(session: SiteSession) -> AnyResponse:
    """Answer with the present page; to a button, with the way to it, so that a browser can go back without asking."""
    page = session.show()
    if request.method == "POST":
        return _to_page(session)
    reward = session.shop.reward(page) if session.bought else None
    html = page_html(page, session.parts, session=session.name, reward=reward)
    return html_answer(html)
