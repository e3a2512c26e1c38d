"""Addresses of pages in the original's scheme, such as `/item_page/SESSION/ASIN/KEYWORDS/1/OPTIONS`.

Keywords and options stand in the address as literals. The site writes them as JSON; browsers' bookmarks and clients of
the original also write Python's literals, or the query as it is. All are read with a grammar of their own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import quote

from turngym.webshop_server.pages.page import Page, PageKind

MAX_NUMBER_DIGITS = 6
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_LIST = re.compile(rf"\s*+\[\s*+(?:{_STRING}\s*+(?:,\s*+{_STRING}\s*+)*,?\s*+)?\]\s*+", re.DOTALL)
_PAIR = rf"({_STRING})\s*+:\s*+({_STRING})"
_DICT = re.compile(rf"\s*+\{{\s*+(?:{_PAIR}\s*+(?:,\s*+{_PAIR}\s*+)*,?\s*+)?\}}\s*+", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class AddressError(ValueError):
    """An address has a form that no page has."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which page is meant, within a session."""

    kind: PageKind = PageKind.START
    keywords: tuple[str, ...] = ()
    number: int = 1
    asin: str = ""
    chosen: frozenset[tuple[str, str]] = frozenset()
    detail: str = ""


def address_of(page: Page) -> Address:
    """Return the address of a page."""
    kind = page.kind
    on_results = kind in (PageKind.RESULTS, PageKind.ITEM, PageKind.DETAIL)
    on_product = kind in (PageKind.ITEM, PageKind.DETAIL, PageKind.DONE)
    return Address(
        kind,
        keywords=page.keywords if on_results else (),
        number=page.number if on_results else 1,
        asin=page.asin if on_product else "",
        chosen=frozenset(page.chosen.items()) if on_product else frozenset(),
        detail=page.detail or "" if kind is PageKind.DETAIL else "",
    )


def path_of(page: Page, session: str) -> str:
    """Return the path of a page in a session of this name, percent-encoded."""
    keywords, chosen = _literal(list(page.keywords)), _literal(dict(page.chosen))
    parts: tuple[object, ...]
    match page.kind:
        case PageKind.START:
            return "/" + quote(session, safe="", errors="replace")
        case PageKind.RESULTS:
            parts = (keywords, page.number)
        case PageKind.ITEM:
            parts = (page.asin, keywords, page.number, chosen)
        case PageKind.DETAIL:
            parts = (page.asin, keywords, page.number, page.detail, chosen)
        case PageKind.DONE:
            parts = (page.asin, chosen)
    return "/" + "/".join(quote(str(part), safe="", errors="replace") for part in (page.kind, session, *parts))


def _literal(value: object) -> str:
    """Return JSON without a slash, which a server could take for the end of a part."""
    return json.dumps(value, separators=(",", ":")).replace("/", r"\u002f")


# Reading ------------------------------------------------------------------------------------------------------------


def read_keywords(text: str) -> tuple[str, ...]:
    """Return the words of a query: a list of strings, or the query itself.

    Raises:
        AddressError: It begins like a list and is none.
    """
    if not text.lstrip().startswith("["):
        return tuple(text.split(" "))
    if not _LIST.fullmatch(text):
        raise AddressError("the keywords in the address are neither a query nor a list of strings")
    return tuple(_unescaped(string) for string in re.findall(_STRING, text, re.DOTALL))


def read_options(text: str) -> dict[str, str]:
    """Return what was chosen, by option.

    Raises:
        AddressError: It is no dictionary of strings.
    """
    if not _DICT.fullmatch(text):
        raise AddressError("the options in the address are no dictionary of strings")
    return {_unescaped(name): _unescaped(value) for name, value in re.findall(_PAIR, text, re.DOTALL)}


def read_number(text: str) -> int:
    """Return the number of a page of results.

    Raises:
        AddressError: It is no natural number of at most six digits.
    """
    if not re.fullmatch(rf"[0-9]{{1,{MAX_NUMBER_DIGITS}}}", text):
        raise AddressError("the page in the address is no number")
    return int(text)


def _unescaped(string: str) -> str:
    text = _ESCAPE.sub(lambda escape: _character(escape[1]), string[1:-1])
    # JSON escapes what lies beyond 16 bits as two halves.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _character(code: str) -> str:
    if len(code) == 1:
        return _ESCAPED.get(code, code)
    number = int(code[1:], 16)
    if number > 0x10FFFF:
        raise AddressError("the address has an escape of no character")
    return chr(number)
