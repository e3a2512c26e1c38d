"""The interface for agents: sessions and actions as JSON, described in `openapi.json`."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any, get_args

from flask import Blueprint, Response, abort, jsonify, request

from turngym._version import __version__
from turngym.webshop_server.pages import ORIGIN, page_html, plain_text, rich_text, usable_actions
from turngym.webshop_server.shop import MAX_RESULTS, Split
from turngym.webshop_server.site.sessions import SiteSession
from turngym.webshop_server.site.state import begin_session, is_operator, require_operator, session_or_404, site

MAX_ACTION_CHARS = 2_000
MAX_QUERY_CHARS = 2_000
GOAL_NUMBER = re.compile(r"[0-9]{1,9}")

api = Blueprint("api", __name__, url_prefix="/api")


@api.get("/openapi.json")
def schema() -> Response:
    """Describe this interface."""
    return Response(_schema(), content_type="application/json")


@api.get("/shop")
def shop() -> Response:
    """Say what shop this is."""
    backend = site().backend
    splits = {split: backend.goal_range(split) for split in get_args(Split)}
    return jsonify(version=__version__, mode=backend.mode, num_products=len(backend.shop.catalogue), goals=splits,
                   setup=backend.setup)  # fmt: skip


@api.post("/sessions")
def begin() -> tuple[Response, int]:
    """Begin a session with the goal that is named, or with any."""
    wish = _body()
    split, index, goal = wish.get("split"), wish.get("index", 0), wish.get("goal")
    if unknown := wish.keys() - {"split", "index", "goal"}:
        abort(400, f"A session has no {min(unknown)}; it takes split and index, or goal.")
    if (split is None and "index" in wish) or (split is not None and goal is not None):
        abort(400, "Name a goal, or a split and an index.")
    if split is not None:
        if split not in get_args(Split) or not _is_index(index):
            abort(400, f"split is one of {', '.join(get_args(Split))}, and index a natural number.")
        goal = site().backend.goal_number(split, index)
    if goal is not None and not _is_index(goal):
        abort(400, "goal is a natural number.")
    try:
        session = begin_session(goal)
    except ValueError as error:
        abort(404, str(error))
    return jsonify(_state(session)), 201


@api.get("/sessions/<name>")
def look(name: str) -> Response:
    """Say where a session stands."""
    session = session_or_404(name)
    with session.lock:
        return jsonify(_state(session))


@api.post("/sessions/<name>/actions")
def act(name: str) -> Response:
    """Do an action; one that was done just before is not done again."""
    order = _body()
    action, number = order.get("action"), order.get("number")
    if not isinstance(action, str) or len(action) > MAX_ACTION_CHARS:
        abort(400, f"action is a text of at most {MAX_ACTION_CHARS:,} characters.")
    if number is not None and not _is_index(number):
        abort(400, "number is a natural number: how many actions there were before this one.")
    session = session_or_404(name)
    with session.lock:
        last = session.steps[-1]
        if number is not None and number == session.num_actions - 1 and last.action == action:
            return jsonify(_state(session, last.problem))  # the answer was lost on its way
        if number not in (None, session.num_actions):
            abort(409, f"This session has had {session.num_actions} actions.")
        problem = session.act(action)
        return jsonify(_state(session, problem))


@api.delete("/sessions/<name>")
def end(name: str) -> tuple[str, int]:
    """End a session."""
    if not site().sessions.end(name):
        session_or_404(name)
    return "", 204


@api.get("/goals/<number>")
def goal(number: str) -> Response:
    """Tell the operator a goal."""
    require_operator()
    goals = site().backend.goals
    if not GOAL_NUMBER.fullmatch(number) or int(number) >= len(goals):
        abort(404, f"There are goals 0 to {len(goals) - 1}.")
    return jsonify(asdict(goals[int(number)]))


@api.get("/search")
def search() -> Response:
    """Tell the operator what a query finds."""
    require_operator()
    query, limit = request.args.get("query", ""), request.args.get("limit", MAX_RESULTS, type=int)
    return jsonify(asins=list(site().backend.search(query[:MAX_QUERY_CHARS], max(0, min(limit, MAX_RESULTS)))))


def _body() -> dict[str, Any]:
    """Return the JSON object that was sent, an empty one if nothing was."""
    if not request.get_data(cache=True):
        return {}
    try:
        body = request.get_json(force=True, silent=True)
    except RecursionError:  # brackets within brackets, thousands deep
        body = None
    if not isinstance(body, dict):
        abort(400, "The body must be a JSON object.")
    return body


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _state(session: SiteSession, problem: str = "") -> dict[str, Any]:
    """Return what a shopper may know, and to the operator the rest."""
    page = session.page
    parts = session.parts
    state = {
        "session": session.name,
        "number": session.num_actions,
        "kind": page.kind.name.lower(),
        "instruction": page.goal.instruction,
        "url": page.url.replace(ORIGIN, request.host_url.rstrip("/"), 1),
        "text": plain_text(parts),
        "text_rich": rich_text(parts),
        "actions": usable_actions(page, parts),
        "problem": problem,
        "bought": session.bought,
        "reward": page.reward,
    }
    if is_operator():
        state["hidden"] = {
            "goal": session.goal_number,
            "setup": site().backend.setup,
            "page": {
                "session": page.session,
                "kind": state["kind"],
                "keywords": page.keywords,
                "number": page.number,
                "found": page.found,
                "asin": page.asin,
                "chosen": dict(page.chosen),
                "detail": page.detail,
                "visited": sorted(page.visited),
                "reward": page.reward,
            },
            "parts": [{"is": type(part).__name__.lower(), **asdict(part)} for part in parts],
            "worth": asdict(worth) if (worth := session.worth) else None,
            "html": page_html(page, parts) if "html" in request.args else None,
        }
    return state


@cache
def _schema() -> bytes:
    return (files("turngym.webshop_server.site") / "openapi.json").read_bytes()
