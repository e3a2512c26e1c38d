"""The action grammar: one reading of a reply or none."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.parsing import CLOSE, OPEN, InvalidAction, extract_action

TAGLESS = st.text().filter(lambda text: "<" not in text)
ACTION = TAGLESS.filter(str.strip)


@given(ACTION)
def test_whole_reply_is_the_action(reply: str) -> None:
    assert extract_action(reply) == reply.strip()


@given(TAGLESS, ACTION, st.sampled_from(["", " ", "\n", "\t\n "]))
def test_block_after_thoughts_is_the_action(thoughts: str, action: str, blank: str) -> None:
    reply = f"{thoughts}{OPEN}{blank}{action}{blank}{CLOSE}{blank}"
    assert extract_action(reply, reasoning=True) == action.strip()


@given(st.text(), st.booleans())
def test_result_is_stripped_part_of_the_reply_or_a_refusal(reply: str, reasoning: bool) -> None:
    try:
        action = extract_action(reply, reasoning=reasoning)
    except InvalidAction:
        return
    assert action and action in reply and action == action.strip()


@pytest.mark.parametrize(
    "reply",
    [
        "left",
        f"{OPEN}left",
        f"left{CLOSE}",
        f"{CLOSE}left{OPEN}",
        f"{OPEN}left{CLOSE} and that is it",
        f"{OPEN}left{CLOSE}{OPEN}right{CLOSE}",
        f"{OPEN}{OPEN}left{CLOSE}{CLOSE}",
        f"{OPEN} {CLOSE}",
        f"{OPEN.upper()}left{CLOSE.upper()}",
        "",
    ],
)
def test_ambiguous_reply_is_refused_when_reasoning(reply: str) -> None:
    with pytest.raises(InvalidAction):
        extract_action(reply, reasoning=True)


@pytest.mark.parametrize("reply", ["", " ", "\n\t\u2003"])
def test_empty_reply_is_refused(reply: str) -> None:
    with pytest.raises(InvalidAction, match="empty"):
        extract_action(reply)


def test_tags_mean_nothing_without_reasoning() -> None:
    assert extract_action(f"{OPEN}left{CLOSE}") == f"{OPEN}left{CLOSE}"


@pytest.mark.parametrize("piece", [OPEN, CLOSE, OPEN + CLOSE, "<answer", "<<<", " "])
def test_long_replies_take_no_time(piece: str) -> None:
    reply = piece * (1_000_000 // len(piece))
    begun = time.process_time()
    with pytest.raises(InvalidAction):
        extract_action(reply, reasoning=True)
    assert time.process_time() - begun < 1.0
