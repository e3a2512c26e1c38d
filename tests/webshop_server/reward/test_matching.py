"""Fuzzy matching and colors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.reward.matching import COLORS, color_within, color_word, matches


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("navy blue", "navy blue", True),
        ("Navy-Blue!", "blue navy", True),
        ("blue", "navy blue", True),  # one holds all words of the other
        ("navy blue", "dark green", False),
        ("machine washable", "machine wash", True),
        ("tea tree", "tree", True),
        ("size 10", "size 12", True),  # 6 of 7 letters agree
        ("café", "caf", True),  # Latin-1 letters are dropped
        ("", "", False),
        ("!!", "!!", False),
        ("('color', 'black')", "black", True),
    ],
)
def test_matches(left: str, right: str, same: bool) -> None:
    assert matches(left, right) is same
    assert matches(right, left) is same


def test_difflib_decides() -> None:
    assert not matches("10x50 uhd binoculars", "15x60 uhd binoculars")  # 85%, and 90% to rapidfuzz
    assert matches("15x60 uhd binoculars", "10x50 uhd binoculars")  # 90%: its order counts


@given(st.text(max_size=30))
def test_a_text_matches_itself_if_it_has_a_letter_or_digit(text: str) -> None:
    assert matches(text, text) or not any(character.isalnum() and not 128 <= ord(character) < 256 for character in text)


def test_colors_within_words() -> None:
    assert list(COLORS) == sorted(COLORS)
    assert color_within("redwood") == "red"
    assert color_within("12 pack tank top") == "tan"
    assert color_within("light blue") == "blue"
    assert color_within("size 10") == "size 10"


def test_colors_as_words() -> None:
    assert color_word("redwood") == "redwood"
    assert color_word("light blue") == "blue"
    assert color_word("blue-white stripes") == "blue"
