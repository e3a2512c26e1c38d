"""Tokens as text: characters of several tokens are whole, wherever they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from turngym.trainers.viewing.spelling import Spelling, numbered, spelling_of


def decoded(ids: Sequence[int]) -> str:
    """Take every token for one byte."""
    return bytes(ids).decode("utf-8", "replace")


BYTES = Spelling(decoded)


def test_a_character_of_several_tokens_stands_at_the_last_of_them() -> None:
    assert BYTES.pieces("a\u2603b".encode()) == ["a", "", "", "\u2603", "b"]
    assert BYTES.text("a\u2603b".encode()) == "a\u2603b"


@given(st.text())
def test_all_text_is_spelled_as_it_is(text: str) -> None:
    pieces = BYTES.pieces(text.encode("utf-8", "replace"))
    assert "".join(pieces) == text.encode("utf-8", "replace").decode() and len(pieces) == len(
        text.encode("utf-8", "replace")
    )


@given(st.binary())
def test_bytes_that_are_no_character_are_replaced_and_hide_nothing(data: bytes) -> None:
    pieces = BYTES.pieces(data)
    kept = [byte for byte in data if byte < 128]
    assert len(pieces) == len(data) and "".join(pieces).replace("\ufffd", "").count("") >= 1
    assert [ord(one) for one in "".join(pieces) if ord(one) < 128] == kept


def test_a_part_at_the_end_is_replaced() -> None:
    assert BYTES.pieces("\u2603".encode()[:2]) == ["", "\ufffd"]


def test_without_a_tokenizer_tokens_are_numbers(tmp_path: Path) -> None:
    assert spelling_of(tmp_path).pieces([3, 14]) == ["[3]", "[14]"] and numbered([3, 14]) == "[3][14]"
