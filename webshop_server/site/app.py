"""The site as a WSGI application, and what all its answers have in common."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask, Response, abort, g, jsonify, request
from werkzeug.exceptions import HTTPException, ServiceUnavailable, TooManyRequests
from werkzeug.routing import BaseConverter
from werkzeug.wrappers import Response as AnyResponse

from turngym.webshop_server.pages import STATIC
from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.api import api
from turngym.webshop_server.site.back_office import back_office
from turngym.webshop_server.site.headers import HEADERS, NO_STORE
from turngym.webshop_server.site.origins import is_foreign
from turngym.webshop_server.site.rendering import template
from turngym.webshop_server.site.session_store import SessionStore, TooManySessionsError
from turngym.webshop_server.site.state import EXTENSION, Site, SiteSettings, html_answer, site
from turngym.webshop_server.site.storefront import PLACES, storefront

MAX_BODY_BYTES = 64 * 1024
OPEN = {"static", "storefront.health", "storefront.nothing"}
"""What pages of other sites may ask for: it tells nothing and changes nothing."""
PORT = re.compile(r":[0-9]+$")
LOG = logging.getLogger("turngym.webshop_server.site")


def create_app(backend: LocalBackend, settings: SiteSettings | None = None) -> Flask:
    """Return the site of a shop, for any WSGI server that runs it in one process.

    Args:
        backend: The shop.
        settings: How it is run.
    """
    settings = settings or SiteSettings()
    app = Flask(__name__, static_folder=STATIC, template_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, MAX_FORM_MEMORY_SIZE=MAX_BODY_BYTES)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    app.url_map.converters["any_text"] = _AnyText
    app.wsgi_app = _with_question_marks(app.wsgi_app)  # type: ignore[method-assign]
    sessions = SessionStore(backend, max_sessions=settings.max_sessions, lifetime=60.0 * settings.session_minutes)
    app.extensions[EXTENSION] = Site(backend, settings, sessions)
    for part in (api, back_office, storefront):
        app.register_blueprint(part)
    app.before_request(_start_clock)
    app.before_request(_check_headers)
    app.before_request(_check_origin)
    app.after_request(_finish)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(TooManySessionsError, _ask_to_wait)
    app.register_error_handler(Exception, _apologize)
    return app


class _AnyText(BaseConverter):
    """The rest of a path, whatever it is."""

    regex = "(?s:.*)"
    part_isolating = False


def _with_question_marks(application: Callable[..., Any]) -> Callable[..., Iterable[bytes]]:
    """Let question marks be part of the addresses of pages.

    Clients of the original write queries and options into addresses as they are.
    """

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        if query and path.startswith(PLACES):
            rest = unquote_to_bytes(query.encode("latin-1")).decode("latin-1")
            environ = {**environ, "PATH_INFO": f"{path}?{rest}", "QUERY_STRING": ""}
        answered: Iterable[bytes] = application(environ, start_response)
        return answered

    return answer


def _start_clock() -> None:
    g.started = time.perf_counter()


def _check_headers() -> None:
    """Refuse headers that cannot be read, and a foreign host name (Flask's own check fails on IPv6)."""
    if not request.query_string.isascii():
        abort(400, "What follows the question mark must be percent-encoded.")
    if not all(value.isascii() and value.isprintable() for value in request.headers.values()):
        abort(400, "A header has characters that no header has.")
    hosts = site().settings.hosts
    if hosts is not None and PORT.sub("", request.host.lower()) not in hosts:
        abort(400, "The site has another name.")


def _check_origin() -> None:
    """Refuse what another site makes a browser ask for."""
    if request.endpoint not in OPEN and is_foreign():
        abort(403, "A page of another site asked for this, and the shop is open to its own pages alone.")


def _finish(response: Response) -> Response:
    """Add the headers that every answer has, and log the request without what names a session."""
    response.headers.update(HEADERS)
    if request.endpoint != "static":
        response.headers.update(NO_STORE)
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


def _ask_to_wait(error: TooManySessionsError) -> AnyResponse:
    if error.by_one:
        reason = "This client has as many sessions as one may have. End one, finish one, or wait."
        return _explain(TooManyRequests(reason, retry_after=error.seconds))
    return _explain(ServiceUnavailable("The shop is full. Come again later.", retry_after=error.seconds))


def _apologize(error: Exception) -> AnyResponse:
    """Log an error of the program and answer with code 500."""
    LOG.error("a request failed", exc_info=error)
    return _explain(_InternalError())


class _InternalError(HTTPException):
    code = 500
    description = "Something went wrong in the shop; its log says what."
