"""Addresses of pages: every page has one of its own, and whatever else is written there is read or refused."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
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
    query_of,
    read_address,
    read_number,
    read_options,
    read_query,
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
    kind, session, rest = unquote(path[1:]).split("/", 2)
    assert session == "name" and read_address(PageKind(kind), rest) == address_of(page)


@pytest.mark.parametrize("query", ["Mens Shirt", "a  b", "8x10/2 ft", "/", "a/1/{x", "50% off?", "[new] shirt", "c++",
                                   "a/2/{}", "men's \"big\" 5'", "x" * 2500, "é😀 ", "search_results/1"])  # fmt: skip
@pytest.mark.parametrize("chosen", [{}, {"size": "8' x 10'"}, {"a/b": "1/2/{}", "c": 'it\'s "big"'}])
def test_an_address_that_a_client_builds_is_that_of_the_page(query: str, chosen: dict[str, str]) -> None:
    words, place = query_of([query]), {"number": 3, "asin": "B000000001", "chosen": tuple(sorted(chosen.items()))}
    assert read_address(PageKind.RESULTS, f"{query}/3") == Address(PageKind.RESULTS, words, 3)
    item = Address(PageKind.ITEM, words, **place)  # type: ignore[arg-type]
    assert read_address(PageKind.ITEM, f"B000000001/{query}/3/{chosen}") == item
    detail = replace(item, kind=PageKind.DETAIL, detail="Features")
    assert read_address(PageKind.DETAIL, f"B000000001/{query}/3/Features/{chosen}") == detail
    bought = read_address(PageKind.DONE, f"B000000001/{chosen}")
    assert bought == Address(PageKind.DONE, asin="B000000001", chosen=item.chosen)


@pytest.mark.parametrize("text", ["", "/", "B0/shirt/1", "B0/shirt/1/[]", "B0/shirt/1/{", "B0/shirt/x/{}", "B0/{}",
                                  "B0/shirt/1234567/{}", "B0/shirt/1/{}/", "B0/1{}"])  # fmt: skip
def test_other_addresses_of_products_are_refused(text: str) -> None:
    for kind in (PageKind.ITEM, PageKind.DETAIL):
        with pytest.raises(AddressError):
            read_address(kind, text)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Red  Shirt ", "red shirt"),
        ("c++", "c++"),
        ("", ""),
        ('["red","Shirt"]', "red shirt"),
        ("['red', \"men's\"]", "red men's"),
        (r"['it\'s', '\x41\u00e9\U0001F600', '\ud83d\ude00\n']", "it's aé😀 😀"),
        ("[]", ""),
        ("['a',]", "a"),
        ("['red shirt']", "red shirt"),
        ("[", "["),
        ("[New] Shirt", "[new] shirt"),
        ("['a' 'b']", "['a' 'b']"),
    ],
)
def test_keywords_are_read_as_python_json_or_the_query(text: str, query: str) -> None:
    assert read_query(text) == query


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("{}", ()),
        ('{"color":"red"}', (("color", "red"),)),
        ("{'size': \"8' x 10'\", 'color': 'red'}", (("color", "red"), ("size", "8' x 10'"))),
        ("{'a': '1', 'a': '2'}", (("a", "2"),)),
    ],
)
def test_options_are_read_as_python_or_json(text: str, options: tuple[tuple[str, str], ...]) -> None:
    assert read_options(text) == options


@pytest.mark.parametrize("text", ["", "[]", "{'a'}", "{'a': 1}", "{'a': 'b'", "{'a': 'b'} or 1", "__import__('os')",
                                  "{'a': ['b']}", "{" * 9000, "{'" + "\\" * 9001, r"{'a': '\Uffffffff'}"])  # fmt: skip
def test_other_options_are_refused(text: str) -> None:
    with pytest.raises(AddressError):
        read_options(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "١", "1e3", "1" * 7, " 1", "1\n"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(AddressError):
        read_number(text)


@given(st.text(alphabet="{}[]'\":, \\abux01", max_size=60))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    for read in (read_query, read_options, partial(read_address, PageKind.DETAIL)):
        with suppress(AddressError):
            read(text)


@pytest.mark.parametrize("text", ["['a'", "{'a'", "{'a': 'b'", "['", "[", "{'a':"])
def test_the_longest_address_is_refused_at_once(text: str) -> None:
    for filler in (" ", "\t", "\\", "'", "'a',", "'a':'b',", "[", "/1/", "/1/{", "/1/x/{"):
        started = time.thread_time()
        for read in (read_query, read_options, partial(read_address, PageKind.DETAIL)):
            with suppress(AddressError):
                read(f"{text}{filler * 10_000}x")
        assert time.thread_time() - started < 2.0  # a quadratic reader takes minutes
