"""The pages of the shop, under the addresses of the original's site.

An address leads only to what its session was offered: nothing can be bought that was not looked at.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from turngym.webshop_server.pages import (
    Address,
    AddressError,
    PageKind,
    page_html,
    path_of,
    read_address,
)
from turngym.webshop_server.shop import MAX_QUERY_CHARS
from turngym.webshop_server.site.origins import may_buy
from turngym.webshop_server.site.sessions import SiteSession
from turngym.webshop_server.site.state import begin_session, html_answer, session_or_404, site

SESSION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
GOAL_IN_NAME = re.compile(r".*fixed.*_([0-9]+)")
"""A session with such a name gets the goal of that number: `fixed_12` gets goal 12."""
PLACES = tuple(f"/{kind}/" for kind in PageKind if kind)
"""What the paths of pages other than the first begin with."""

storefront = Blueprint("storefront", __name__)


@storefront.get("/")
def home() -> AnyResponse:
    """Begin a session."""
    return _to_page(begin_session())


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
    """Show the search page, or search; a session that its client named begins anew here after the purchase."""
    session = site().sessions.get(name)
    if session is None:
        session = _named(name)
    elif session.is_named and (session.ended or session.spent) and request.method == "GET":
        session = _named(name, anew=True)
    query = request.form.get("search_query") if request.method == "POST" else None
    with session.lock:
        if query is None:
            return _shown(session, Address())
        _search(session, query)
        return _to_page(session)


@storefront.route("/search_results/<name>/<any_text:rest>", methods=["GET", "POST"])
def search_results(name: str, rest: str) -> AnyResponse:
    """Show results that the session has found, or search for keywords that are new to it."""
    address = _read(PageKind.RESULTS, rest)
    session = session_or_404(name)
    with session.lock:
        if address.number == 1 and not session.knows(address):
            _search(session, address.query)
            return _answer(session)
        return _shown(session, address)


@storefront.route("/item_page/<name>/<any_text:rest>", methods=["GET", "POST"])
def item_page(name: str, rest: str) -> AnyResponse:
    """Show a product, with what is chosen."""
    return _place(PageKind.ITEM, name, rest)


@storefront.route("/item_sub_page/<name>/<any_text:rest>", methods=["GET", "POST"])
def item_sub_page(name: str, rest: str) -> AnyResponse:
    """Show a text of a product."""
    return _place(PageKind.DETAIL, name, rest)


@storefront.route("/done/<name>/<any_text:rest>", methods=["GET", "POST"])
def done(name: str, rest: str) -> AnyResponse:
    """Buy a product as it was looked at."""
    address = _read(PageKind.DONE, rest)
    session = session_or_404(name)
    with session.lock:
        if not (session.bought or may_buy(session)):
            abort(403, "In a browser the button on the page of a product buys it, and no address does.")
        return _shown(session, address)


def _named(name: str, *, anew: bool = False) -> SiteSession:
    """Begin a session that a client names itself, where that is allowed; anew, where it has begun already."""
    if not site().settings.client_names:
        session_or_404(name)
    if not SESSION_NAME.fullmatch(name):
        abort(404, "A session has a name of at most 64 letters, digits, - and _.")
    goal = GOAL_IN_NAME.fullmatch(name)
    try:
        return begin_session(None if goal is None else int(goal[1]), name, anew=anew)
    except ValueError as error:
        abort(404, str(error))


def _place(kind: PageKind, name: str, rest: str) -> AnyResponse:
    address = _read(kind, rest)
    session = session_or_404(name)
    with session.lock:
        return _shown(session, address)


def _read(kind: PageKind, rest: str) -> Address:
    try:
        address = read_address(kind, rest)
    except AddressError as error:
        abort(400, f"{str(error)[0].upper()}{str(error)[1:]}.")
    _check_query(address.query)
    return address


def _check_query(query: str) -> None:
    if len(query) > MAX_QUERY_CHARS:
        abort(400, f"A query has at most {MAX_QUERY_CHARS:,} characters.")


def _search(session: SiteSession, query: str) -> None:
    _check_query(query)
    if problem := session.search(query):
        abort(400, f"{problem[0].upper()}{problem[1:]}.")


def _shown(session: SiteSession, address: Address) -> AnyResponse:
    """Answer with the page of an address; after the purchase, with the way to the receipt."""
    if not session.go_to(address):
        abort(404, "No link of this session leads here.")
    if session.ended and address.kind is not PageKind.DONE:
        return _to_page(session)
    return _answer(session)


def _to_page(session: SiteSession) -> AnyResponse:
    return redirect(path_of(session.page, session.name), 303)


def _answer(session: SiteSession) -> AnyResponse:
    """Answer with the present page; to a button, with the way to it, so that a browser can go back without asking."""
    if request.method == "POST":
        return _to_page(session)
    page = session.page
    reward = session.shop.reward(page) if session.bought else None
    cost = session.shop.cost(page)
    html = page_html(page, session.parts, session=session.name, reward=reward, cost=cost, token=session.token)
    return html_answer(html)
