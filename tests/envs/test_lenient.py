"""Replies of people's models: what the lenient reading makes of them, and that it changes no usable one."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs import LenientReplies, TextEnv, check_text_env, make_env
from turngym.envs.core import MAX_ACTION_CHARS
from turngym.envs.parsing import (
    CLOSE,
    OPEN,
    InvalidAction,
    extract_action,
    lenient_action,
    without_thoughts,
)

GAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "lake": ("turngym/FrozenLake-v0", {}),
    "lake with thoughts": ("turngym/FrozenLake-v0", {"reasoning": True}),
    "slippery lake": ("turngym/FrozenLakeSlippery-v0", {}),
    "countdown": ("turngym/CountdownSteps-v0", {}),
    "expressions": ("turngym/Countdown-v0", {}),
    "shop": ("turngym/WebShopGiGPO-v0", {"num_products": 50}),
}
PIECES = st.sampled_from(
    ["up", "Up", "left", "3 + 4", "(1+2)*3", "search[red shoes]", "click[Buy Now]", "Action:", "**", "*", "`", "'", '"',
     ".", "!", "\n", " ", OPEN, CLOSE, "<think>", "</think>", "Final answer :", "I go", "\u201c", "7", "\ud800", "\x00"]
)  # fmt: skip
REPLIES = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("Up.", "Up"),
        ("**up**", "up"),
        ("Action: up", "up"),
        ("`up`", "up"),
        ("\u201cup\u201d!", "up"),
        ("**Final Answer:** `up`.", "up"),
        ("MOVE : up", "up"),
        ("I look around.\n\nAnswer: *up*!\n\n", "up"),
        ("<think>down?\n</think>\nup", "up"),
        ("not down</think>up", "up"),
        ("up<think>or down", "up"),
        (f"{OPEN}down{CLOSE} no, {OPEN} up. {CLOSE} that is it", "up"),
        (f"{OPEN}up{CLOSE} and {OPEN}unfinished", "up"),
        (f"<think>{OPEN}down{CLOSE}</think>{OPEN}Action: up{CLOSE}", "up"),
        (f"{CLOSE}up", f"{CLOSE}up"),
        ("Action: search[women's shoes, size 8.5].", "search[women's shoes, size 8.5]"),
        ("```\n(1 + 2) * 3\n```", None),
        ("Up\r\n", "Up"),
        ("I will go up", "I will go up"),
        ("Actions: up", "Actions: up"),
    ],
)
def test_the_rule_by_examples(reply: str, action: str | None) -> None:
    if action is None:
        with pytest.raises(InvalidAction, match="empty"):
            lenient_action(reply)
    else:
        assert lenient_action(reply) == action


@given(REPLIES)
def test_it_is_a_part_of_the_reply_or_a_refusal(reply: str) -> None:
    try:
        action = lenient_action(reply)
    except InvalidAction:
        return
    assert action and action in reply and action == action.strip() and "\n" not in action


@given(st.text())
def test_a_reply_without_marks_has_no_thoughts(reply: str) -> None:
    assert without_thoughts(reply) == reply or "<think>" in reply or "</think>" in reply


@pytest.mark.parametrize(
    "piece", ["*", "`.", "Action:", "<think>", "</think>", OPEN, CLOSE, OPEN + CLOSE, "\n", " .", "' "]
)
def test_time_is_linear(piece: str) -> None:
    def seconds(length: int) -> float:
        reply = (piece * (length // len(piece) + 1))[:length] + "up"
        began = time.perf_counter()
        for _ in range(3):
            with suppress(InvalidAction):
                lenient_action(reply)
        return time.perf_counter() - began

    seconds(1_000)
    assert seconds(1_000_000) < 1.0


# In games -------------------------------------------------------------------------------------------------------------


def pair(game: str) -> tuple[gym.Env[str, str], gym.Env[str, str]]:
    env_id, kwargs = GAMES[game]
    return make_env(env_id, kwargs), LenientReplies(make_env(env_id, kwargs))


@pytest.mark.parametrize("game", GAMES)
def test_what_is_usable_as_it_stands_is_read_alike(game: str) -> None:
    strict, lenient = pair(game)

    @given(st.lists(st.one_of(REPLIES, st.just("oracle")), min_size=1, max_size=4), st.integers(0, 50))
    def check(replies: list[str], seed: int) -> None:
        assert strict.reset(seed=seed) == lenient.reset(seed=seed)
        for reply in replies:
            inside: Any = strict.unwrapped
            said = inside.oracle_action() if reply == "oracle" else reply
            if inside.reasoning and reply == "oracle":
                said = f"so {OPEN}{said}{CLOSE}"
            *one, info = strict.step(said)
            *other, told = lenient.step(said)
            if not info["valid"] and told["valid"]:
                assert told["lenient"] and told["well_formed"]
                return  # from here on they play other games
            assert not told.pop("lenient")
            assert (one, info) == (other, told)
            if one[2] or one[3]:
                return

    check()


@pytest.mark.parametrize("game", GAMES)
def test_a_lenient_game_keeps_the_contract(game: str) -> None:
    env_id, kwargs = GAMES[game]
    check_text_env(LenientReplies(make_env(env_id, kwargs)))


def test_a_long_reply_counts_by_its_action() -> None:
    strict, lenient = pair("lake")
    reply = "I think. " * MAX_ACTION_CHARS + "\nAction: up"
    assert [env.reset(seed=1) and env.step(reply)[4]["valid"] for env in (strict, lenient)] == [False, True]
    *_, info = lenient.step("up " * MAX_ACTION_CHARS)
    assert not info["valid"] and not info["lenient"]


def test_a_second_refusal_is_answered_like_the_first() -> None:
    strict, lenient = pair("lake")
    for env in (strict, lenient):
        env.reset(seed=1)
    assert strict.step("**sideways**")[0] == lenient.step("**sideways**")[0]


def test_a_shop_remembers_one_step_a_turn() -> None:
    _, lenient = pair("shop")
    lenient.reset(seed=1)
    *_, info = lenient.step("Action: **search[shoes]**.")
    assert info["valid"] and info["lenient"]
    observation, *_ = lenient.step("Action: click[nothing of the kind].")
    steps = [(number, action) for number, _, action in lenient.unwrapped._steps]  # type: ignore[attr-defined]
    assert steps == [(1, "search[shoes]"), (2, "Action: click[nothing of the kind].")]
    assert "search[shoes]" in observation


def test_only_text_games_can_be_read_leniently() -> None:
    with pytest.raises(TypeError, match="LenientReplies needs a TextEnv inside, got CartPoleEnv"):
        LenientReplies(gym.make("CartPole-v1"))  # type: ignore[arg-type]


def test_a_game_that_is_not_wrapped_says_nothing_of_it() -> None:
    env = make_env("turngym/FrozenLake-v0")
    env.reset(seed=0)
    inside = env.unwrapped
    assert isinstance(inside, TextEnv) and not inside.lenient_replies
    assert "lenient" not in env.step("**up**")[4]
    with pytest.raises(InvalidAction):
        extract_action(" ")
