"""What the parts of the site share: its settings, its shop and its sessions."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from secrets import token_urlsafe

from flask import Response, abort, current_app, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.session_store import OPERATOR, SessionStore
from turngym.webshop_server.site.sessions import MAX_ACTIONS, SiteSession

EXTENSION = "turngym.webshop"


@dataclass(frozen=True, kw_only=True)
class SiteSettings:
    """How a site is run."""

    operator_key: str = field(default_factory=lambda: token_urlsafe(16), repr=False)
    """Opens the operator's pages and what is hidden from shoppers, as the password of HTTP's basic authentication."""
    max_sessions: int = 4096
    """Most sessions at a time; one client has at most a quarter of them, and a quarter is kept for the operator."""
    session_minutes: float = 60.0
    """Minutes after its last use at which a session ends."""
    client_names: bool = True
    """Whether an unknown name in an address begins a session of that name, as clients of the original expect. A name
    can be guessed by others, who then share the session."""
    hosts: tuple[str, ...] | None = None
    """The names under which the site may be addressed; None for any."""
    proxy: str = ""
    """The address of a proxy in front of the site, which names its clients in `X-Forwarded-For`; none if empty."""


@dataclass(frozen=True)
class Site:
    """A site."""

    backend: LocalBackend
    settings: SiteSettings
    sessions: SessionStore


def site() -> Site:
    """Return the site that is asked."""
    found: Site = current_app.extensions[EXTENSION]
    return found


def session_or_404(name: str) -> SiteSession:
    """Return a session, or answer that there is none."""
    session = site().sessions.get(name)
    if session is None:
        abort(404, "There is no such session, or it has ended.")
    if session.spent and not is_operator():
        abort(410, f"This session has had its {MAX_ACTIONS:,} actions; begin another.")
    return session


def begin_session(goal_number: int | None = None, name: str | None = None, *, anew: bool = False) -> SiteSession:
    """Begin a session of the client that asks; the arguments are those of `SessionStore.create`."""
    return site().sessions.create(goal_number, name, client=OPERATOR if is_operator() else _client(), anew=anew)


def html_answer(html: str) -> Response:
    """Return the answer that shows a page; half surrogates, which UTF-8 does not have, become question marks."""
    return Response(html.encode("utf-8", "replace"), content_type="text/html; charset=utf-8")


def is_operator() -> bool:
    """Return whether the request has the operator's key."""
    given = request.authorization
    password = given.password if given is not None and given.type == "basic" else None
    return password is not None and hmac.compare_digest(password.encode(), site().settings.operator_key.encode())


def require_operator() -> None:
    """Answer with a request for the operator's key, if it is missing or wrong."""
    if not is_operator():
        raise Unauthorized(
            "The operator's key is needed.", www_authenticate=WWWAuthenticate("basic", {"realm": "operator"})
        )


def _client() -> str:
    """Return the address that asks; of an IPv6 address the network, which is what one client is given."""
    given = request.remote_addr or ""
    try:
        address = ip_address(given)
    except ValueError:
        return given
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return given
