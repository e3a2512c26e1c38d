"""Who asks: a program, the site's own page in a browser, or a page of another site there.

Browsers say so themselves. A page cannot keep its browser from sending `Sec-Fetch-Site`, nor `Origin` with a POST, nor
give these headers another value. Clients of the original send none of them, and are no browsers.
"""

from __future__ import annotations

from hmac import compare_digest
from urllib.parse import urlsplit

from flask import request

from turngym.webshop_server.site.sessions import SiteSession

SHOWN_ALONE = {"document", "empty"}
"""What a browser may fetch for (`Sec-Fetch-Dest`): a page that it shows, or what a script asks for; not a picture."""


def is_foreign() -> bool:
    """Return whether a page of another site asks, or a page asks for a picture, a frame or the like."""
    headers = request.headers
    fetched_for, page = headers.get("Sec-Fetch-Dest"), headers.get("Sec-Fetch-Site")
    if fetched_for is not None and fetched_for not in SHOWN_ALONE:
        return True
    if page is not None:  # which counts more than the addresses, since a proxy may have changed the host
        return page not in {"same-origin", "none"}
    addresses = (headers.get("Origin"), headers.get("Referer"))
    return any(address is not None and not _is_own(address) for address in addresses)


def may_buy(session: SiteSession) -> bool:
    """Return whether a request that is not foreign may buy: by a button of the session's own pages, or as a program.

    A browser buys by POST alone, with the token of the page or from a page that it calls the site's own.
    """
    headers = request.headers
    if request.method == "HEAD":
        return False
    if "token" in request.form:
        return compare_digest(request.form["token"].encode("utf-8", "replace"), session.token.encode())
    by_browser = headers.get("User-Agent", "").startswith("Mozilla/") or "Sec-Fetch-Site" in headers
    if not (by_browser or "Origin" in headers):
        return True
    own = headers.get("Sec-Fetch-Site") == "same-origin" or "Origin" in headers
    return request.method == "POST" and own


def _is_own(url: str) -> bool:
    try:
        return urlsplit(url).netloc.lower() == request.host.lower()
    except ValueError:
        return False
