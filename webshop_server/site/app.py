"""The site as a WSGI application, and what all its answers have in common."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from http import HTTPStatus

from flask import Flask, Response, abort, g, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.api import api
from turngym.webshop_server.site.back_office import back_office
from turngym.webshop_server.site.rendering import template
from turngym.webshop_server.site.sessions import SessionStore
from turngym.webshop_server.site.state import EXTENSION, Site, SiteSettings, html_answer, site
from turngym.webshop_server.site.storefront import storefront

MAX_BODY_BYTES = 64 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses name sessions
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PORT = re.compile(r":[0-9]+$")
LOG = logging.getLogger("turngym.webshop_server.site")


def create_app(backend: LocalBackend, settings: SiteSettings | None = None) -> Flask:
    """Return the site of a shop, for any WSGI server that runs it in one process.

    Args:
        backend: The shop.
        settings: How it is run.
    """
    settings = settings or SiteSettings()
    app = Flask(__name__, static_folder="static", template_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, MAX_FORM_MEMORY_SIZE=MAX_BODY_BYTES)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    sessions = SessionStore(backend, max_sessions=settings.max_sessions, lifetime=60.0 * settings.session_minutes)
    app.extensions[EXTENSION] = Site(backend, settings, sessions)
    for part in (api, back_office, storefront):
        app.register_blueprint(part)
    app.before_request(_start_clock)
    app.before_request(_check_address)
    app.after_request(_finish)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(Exception, _apologize)
    return app


def _start_clock() -> None:
    g.started = time.perf_counter()


def _check_address() -> None:
    """Refuse a foreign host name (Flask's own check fails on IPv6) and a query that Flask cannot read."""
    if not request.query_string.isascii():
        abort(400, "What follows the question mark must be percent-encoded.")
    hosts = site().settings.hosts
    if hosts is not None and PORT.sub("", request.host.lower()) not in hosts:
        abort(400, "The site has another name.")


def _finish(response: Response) -> Response:
    """Add the headers that every answer has, and log the request without what names a session."""
    response.headers.update(HEADERS)
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    name = (request.view_args or {}).get("name", "")
    LOG.info(json.dumps({
        "time": round(time.time(), 3),
        "method": request.method,
        "route": None if request.url_rule is None else request.url_rule.rule,
        "status": response.status_code,
        "ms": round(1000 * (time.perf_counter() - g.get("started", time.perf_counter())), 2),
        "session": hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=6).hexdigest() if name else None,
    }))  # fmt: skip
    return response


def _explain(error: HTTPException) -> AnyResponse:
    """Answer with what is wrong, as a page or as JSON."""
    if error.response is not None:
        return error.get_response()
    code = error.code or 500
    response: Response
    if request.path.startswith("/api/"):
        response = jsonify(error=error.description)
    else:
        page = template("error.html").render(title=HTTPStatus(code).phrase, problem=error.description)
        response = html_answer(page)
    response.status_code = code
    for header, value in error.get_headers():
        if header in {"Allow", "Location", "Retry-After", "WWW-Authenticate"}:
            response.headers[header] = value
    return response


def _apologize(error: Exception) -> AnyResponse:
    """Log an error of the program and answer with code 500."""
    LOG.error("a request failed", exc_info=error)
    return _explain(_InternalError())


class _InternalError(HTTPException):
    code = 500
    description = "Something went wrong in the shop; its log says what."
