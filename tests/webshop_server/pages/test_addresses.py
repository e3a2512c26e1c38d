"""Addresses of pages: every page has one of its own, and whatever else is written there is read or refused."""

from __future__ import annotations

import time
from contextlib import suppress
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.goals import Goal
from turngym.webshop_server.pages.addresses import (
    Address,
    AddressError,
    address_of,
    path_of,
    read_keywords,
    read_number,
    read_options,
)
from turngym.webshop_server.pages.page import Page, PageKind

words = st.lists(st.text(max_size=8), min_size=1, max_size=4)
choices = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


@given(keywords=words, chosen=choices, number=st.integers(1, 999_999))
def test_an_address_leads_back_to_its_page(keywords: list[str], chosen: dict[str, str], number: int) -> None:
    goal = Goal("A", "", "", "", "", "", (), (), 1.0)
    page = Page("7", goal, PageKind.ITEM, tuple(keywords), number, asin="B000000001", chosen=chosen)
    path = path_of(page, "name")
    assert path.isascii() and path.count("/") == 6
    kind, session, asin, *rest = (unquote(part) for part in path[1:].split("/"))
    read = Address(PageKind(kind), read_keywords(rest[0]), read_number(rest[1]), asin,
                   frozenset(read_options(rest[2]).items()))  # fmt: skip
    assert session == "name" and read == address_of(page)


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ("red shirt", ("red", "shirt")),
        ("c++", ("c++",)),
        ("", ("",)),
        ('["red","shirt"]', ("red", "shirt")),
        ("['red', \"men's\"]", ("red", "men's")),
        (r"['it\'s', '\x41\u00e9\U0001F600', '\ud83d\ude00\n']", ("it's", "Aé😀", "😀\n")),
        ("[]", ()),
        ("['a',]", ("a",)),
    ],
)
def test_keywords_are_read_as_python_json_or_the_query(text: str, keywords: tuple[str, ...]) -> None:
    assert read_keywords(text) == keywords


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("{}", {}),
        ('{"color":"red"}', {"color": "red"}),
        ("{'color': 'red', 'size': \"8' x 10'\"}", {"color": "red", "size": "8' x 10'"}),
        ("{'a': '1', 'a': '2'}", {"a": "2"}),
    ],
)
def test_options_are_read_as_python_or_json(text: str, options: dict[str, str]) -> None:
    assert read_options(text) == options


@pytest.mark.parametrize("text", ["", "[]", "{'a'}", "{'a': 1}", "{'a': 'b'", "{'a': 'b'} or 1", "__import__('os')",
                                  "{'a': ['b']}", "{" * 9000, "{'" + "\\" * 9001, r"{'a': '\Uffffffff'}"])  # fmt: skip
def test_other_options_are_refused(text: str) -> None:
    with pytest.raises(AddressError):
        read_options(text)


@pytest.mark.parametrize("text", ["[", "[1]", "['a' 'b']", "['a'", "[" * 9000, "['" + "\\" * 9001])
def test_other_lists_of_keywords_are_refused(text: str) -> None:
    with pytest.raises(AddressError):
        read_keywords(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "١", "1e3", "1" * 7, " 1", "1\n"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(AddressError):
        read_number(text)


@given(st.text(alphabet="{}[]'\":, \\abux01", max_size=60))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    for read in (read_keywords, read_options):
        with suppress(AddressError):
            read(text)


@pytest.mark.parametrize("text", ["['a'", "{'a'", "{'a': 'b'", "['", "[", "{'a':"])
def test_the_longest_address_is_refused_at_once(text: str) -> None:
    for filler in (" ", "\t", "\\", "'", "'a',", "'a':'b',", "["):
        started = time.thread_time()
        for read in (read_keywords, read_options):
            with suppress(AddressError):
                read(f"{text}{filler * 10_000}x")
        assert time.thread_time() - started < 0.1
