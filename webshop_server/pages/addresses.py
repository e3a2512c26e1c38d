"""Addresses of pages in the original's scheme, such as `/item_page/SESSION/ASIN/KEYWORDS/1/OPTIONS`.

Keywords and options stand in the address as literals. The site writes them as JSON; browsers' bookmarks and clients of
the original also write Python's literals, or the query as it is. All are read with a grammar of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args
from urllib.parse import quote

from turngym.webshop_server.pages.page import Detail, Page, PageKind

MAX_NUMBER_DIGITS = 6
MAX_TRIED = 8
"""At how many places options may be looked for, where texts in the address look like its end."""
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_LIST = re.compile(rf"\s*+\[\s*+(?:{_STRING}\s*+(?:,\s*+{_STRING}\s*+)*,?\s*+)?\]\s*+", re.DOTALL)
_PAIR = rf"({_STRING})\s*+:\s*+({_STRING})"
_DICT = re.compile(rf"\s*+\{{\s*+(?:{_PAIR}\s*+(?:,\s*+{_PAIR}\s*+)*,?\s*+)?\}}\s*+", re.DOTALL)
_MIDDLE = {
    PageKind.ITEM: re.compile(rf"/([0-9]{{1,{MAX_NUMBER_DIGITS}}})/()(?=\{{)"),
    PageKind.DETAIL: re.compile(rf"/([0-9]{{1,{MAX_NUMBER_DIGITS}}})/([^/]*)/(?=\{{)"),
}
"""What stands between keywords and options, either of which may hold slashes."""
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class AddressError(ValueError):
    """An address has a form that no page has."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which page is meant, within a session; two ways to write the same page are equal."""

    kind: PageKind = PageKind.START
    query: str = ""
    """What was searched for: words in lower case with single spaces between them, see `query_of`."""
    number: int = 1
    asin: str = ""
    chosen: tuple[tuple[str, str], ...] = ()
    """Options and values, sorted."""
    detail: Detail | None = None


def query_of(words: Iterable[str]) -> str:
    """Return the query of an address from words, or from one text: letter case and space do not matter."""
    return " ".join(" ".join(words).lower().split())


def address_of(page: Page) -> Address:
    """Return the address of a page."""
    kind = page.kind
    on_results = kind in (PageKind.RESULTS, PageKind.ITEM, PageKind.DETAIL)
    on_product = kind in (PageKind.ITEM, PageKind.DETAIL, PageKind.DONE)
    return Address(
        kind,
        query=query_of(page.keywords) if on_results else "",
        number=page.number if on_results else 1,
        asin=page.asin if on_product else "",
        chosen=tuple(sorted(page.chosen.items())) if on_product else (),
        detail=page.detail if kind is PageKind.DETAIL else None,
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


def read_address(kind: PageKind, text: str) -> Address:
    """Return the address of a page of a kind from what follows the session in its path, percent-decoded.

    Raises:
        AddressError: No page of this kind has it.
    """
    if kind is PageKind.RESULTS:
        keywords, _, number = text.rpartition("/")
        return Address(kind, read_query(keywords), read_number(number))
    asin, _, rest = text.partition("/")
    if kind is PageKind.DONE:
        return Address(kind, asin=asin, chosen=read_options(rest))
    middles = [*_MIDDLE[kind].finditer(rest)][-MAX_TRIED:]
    found = next((one for one in reversed(middles) if _DICT.fullmatch(rest, one.end())), None)
    if found is None:
        raise AddressError("the address of a product ends in the number of a page and a dictionary of options")
    query, options = rest[: found.start()], rest[found.end() :]
    return Address(kind, read_query(query), read_number(found[1]), asin, read_options(options), _detail(found[2]))


def read_query(text: str) -> str:
    """Return the query that an address means: that of a list of strings, or the text itself.

    Raises:
        AddressError: It is a list with an escape of no character.
    """
    if not _LIST.fullmatch(text):
        return query_of([text])
    return query_of(_unescaped(string) for string in re.findall(_STRING, text, re.DOTALL))


def read_options(text: str) -> tuple[tuple[str, str], ...]:
    """Return options and what was chosen of each, sorted.

    Raises:
        AddressError: It is no dictionary of strings.
    """
    if not _DICT.fullmatch(text):
        raise AddressError("the options in the address are no dictionary of strings")
    chosen = {_unescaped(name): _unescaped(value) for name, value in re.findall(_PAIR, text, re.DOTALL)}
    return tuple(sorted(chosen.items()))


def read_number(text: str) -> int:
    """Return the number of a page of results.

    Raises:
        AddressError: It is no natural number of at most six digits.
    """
    if not re.fullmatch(rf"[0-9]{{1,{MAX_NUMBER_DIGITS}}}", text):
        raise AddressError("the page in the address is no number")
    return int(text)


def _detail(text: str) -> Detail | None:
    details: dict[str, Detail] = {detail: detail for detail in get_args(Detail)}
    if text and text not in details:
        raise AddressError(f"the pages of a product are {', '.join(details)}")
    return details.get(text)


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
