"""The operator's pages: who is in the shop, and any session step by step, with what buying would have earned."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from turngym.webshop_server.pages import page_context
from turngym.webshop_server.site.rendering import template
from turngym.webshop_server.site.state import html_answer, require_operator, session_or_404, site

MAX_LISTED = 200
"""How many sessions are listed."""

back_office = Blueprint("back_office", __name__, url_prefix="/operator")
back_office.before_request(require_operator)


@back_office.get("/")
def sessions() -> Response:
    """List the sessions used last."""
    listed = site().sessions.latest(MAX_LISTED)
    return html_answer(template("sessions.html").render(sessions=listed, total=len(site().sessions)))


@back_office.get("/<name>")
def replay(name: str) -> Response:
    """Show a step of a session."""
    session = session_or_404(name)
    with session.lock:
        steps = list(session.steps)
    first = session.num_actions + 1 - len(steps)
    number = request.args.get("step", first, type=int)
    if not first <= number < first + len(steps):
        abort(404, f"Steps {first} to {first + len(steps) - 1} of this session are remembered.")
    page = session.page_at(steps[number - first].place)
    reward = session.shop.reward(page) if page.asin else None
    return html_answer(template("replay.html").render(
        session=session, steps=steps, first=first, number=number, step=steps[number - first], page=page, worth=reward,
        price=session.shop.price(page) if page.asin else None,
        **page_context(page, session.shop.layout(page), session=session.name, cost=session.shop.cost(page)),
    ))  # fmt: skip
