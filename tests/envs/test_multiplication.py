"""Multiplication in one answer: feedback, splits, and the numbers its players draw."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym._errors import InputError
from turngym.envs.multiplication import (
    MultiplicationEnv,
    draw_factors,
    guess_probability,
    parse_whole,
    random_number,
    with_one_wrong_digit,
)
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import SPLITS, split_of
from turngym.envs.testing import check_text_env, play, random_policy


def multiplication(a: int = 23, b: int = 47) -> MultiplicationEnv:
    """Return an environment that stands at the start of `a * b`."""
    env = MultiplicationEnv()
    env.reset(seed=0)
    env.factors, env.product = (a, b), a * b
    return env


def test_attempts_are_too_low_too_high_or_right() -> None:
    env = multiplication()
    assert env.step("1001")[:3] == ("1001 is too low.\n23 * 47 = ?", 0.0, False)
    assert env.step("1082")[:3] == ("1082 is too high.\n23 * 47 = ?", 0.0, False)
    observation, reward, terminated, _, info = env.step(" 1081 ")
    assert observation == "1081 is right.\n23 * 47 = ?"
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    assert env.step("1081")[0].startswith("Invalid action: the game is over.")


def test_state_and_potential_keep_the_best_attempts() -> None:
    env = multiplication(10, 10)
    seen = [env.step(guess)[4] for guess in ("50", "20", "400", "125", "500")]
    assert [info["state_key"] for info in seen] == [
        *("10*10|50,None|inf", "10*10|50,None|inf"),
        *("10*10|50,400|inf", "10*10|50,125|inf", "10*10|50,125|inf"),
    ]
    assert [info["potential"] for info in seen] == [0.5, 0.5, 0.5, 0.8, 0.8]


@pytest.mark.parametrize("text", ["1,081", "1 081", "1081.", "1081.0", "1e3", "+1081", "-1081", "0x439", "1_081", "²"])
@pytest.mark.parametrize("suffix", ["", "\n1"])
def test_other_spellings_are_refused(text: str, suffix: str) -> None:
    with pytest.raises(InvalidAction, match="a whole number in at most 12 digits"):
        parse_whole(text + suffix)


def test_number_bounds() -> None:
    assert parse_whole("0") == 0
    assert parse_whole("9" * 12) == 10**12 - 1
    with pytest.raises(InvalidAction, match="at most 12 digits"):
        parse_whole("9" * 13)
    with pytest.raises(InvalidAction, match="without needless zeros"):
        parse_whole("01081")


@given(st.text(max_size=20))
def test_any_text_is_the_number_it_spells_or_refused(text: str) -> None:
    try:
        number = parse_whole(text)
    except InvalidAction:
        return
    assert str(number) == text


@pytest.mark.parametrize("digits", [(2, 2), (3, 2), (5, 5)])
def test_factors_have_their_digits_and_their_split(digits: tuple[int, int]) -> None:
    for split in SPLITS:
        for index in range(50):
            a, b = draw_factors(split, index, digits)
            assert (len(str(a)), len(str(b))) == digits
            assert split_of(f"{min(a, b)}*{max(a, b)}") == split


def test_swapped_factors_share_a_split() -> None:
    drawn = {split: {draw_factors(split, index, (1, 1)) for index in range(300)} for split in SPLITS}
    for split, pairs in drawn.items():
        swapped = {(b, a) for a, b in pairs}
        assert all(swapped.isdisjoint(other) for name, other in drawn.items() if name != split)
    assert sum(map(len, drawn.values())) > 70, "nearly all of the 81 are drawn"


@pytest.mark.parametrize(("digits", "smallest", "largest"), [(1, 0, 9), (2, 10, 99)])
def test_random_numbers_are_uniform(digits: int, smallest: int, largest: int) -> None:
    rng = np.random.default_rng(0)
    counts = Counter(random_number(digits, rng) for _ in range(9000))
    assert (min(counts), max(counts)) == (smallest, largest)
    expected = 9000 * guess_probability(smallest)
    assert len(counts) == largest - smallest + 1
    assert all(abs(count - expected) < 5 * np.sqrt(expected) for count in counts.values())


@given(st.integers(0, 10**8), st.integers(0, 2**32 - 1))
def test_slip_changes_one_digit(number: int, seed: int) -> None:
    wrong = str(with_one_wrong_digit(number, np.random.default_rng(seed)))
    assert len(wrong) == len(str(number))
    assert sum(a != b for a, b in zip(wrong, str(number), strict=True)) == 1


def test_random_success_counts_the_attempts() -> None:
    env: Any = gym.make("turngym/Multiplication-v0", digits=(1, 1), max_episode_steps=3)
    env.reset(options={"index": 0})
    predicted = env.unwrapped.random_success()
    wins = [play(env, random_policy(seed), seed=seed, index=0)[-1].info["success"] for seed in range(500)]
    assert abs(np.mean(wins) - predicted) < 4 * np.sqrt(predicted * (1 - predicted) / 500)
    assert multiplication().random_success() == 1.0, "without a limit it hits some day"


def test_rules_state_the_configuration() -> None:
    env: Any = gym.make("turngym/Multiplication-v0", digits=(3, 2), max_episode_steps=6).unwrapped
    for phrase in ("digit length 3 by one of digit length 2", "You have 6 turns."):
        assert phrase in env.instructions


def test_reasoning_variant_keeps_the_contract() -> None:
    check_text_env(gym.make("turngym/Multiplication-v0", digits=[4, 4], reasoning=True), instances=3)


@pytest.mark.parametrize("digits", [(0, 2), (2, 6), (2,), (2, 2, 2), "22", (2, "2"), (2, 2.0), {2: 2}, 2, None])
def test_bad_digits_are_refused(digits: Any) -> None:
    with pytest.raises(InputError, match=r"digits must be (a list|in \[1, 5\]|a whole number)"):
        MultiplicationEnv(digits=digits)


def test_the_working_is_that_on_paper_from_the_last_digits_on() -> None:
    assert multiplication(85, 33).reasoned_action() == ("85 * 3: 552\n85 * 30: 0552\n= 5082\n", "2805")
    assert multiplication(12, 40).reasoned_action() == ("12 * 0: 0\n12 * 40: 084\n= 084\n", "480")
    assert multiplication(123, 456).reasoned_action()[0] == (
        "123 * 6: 837\n123 * 50: 0516\n= 8886\n123 * 400: 00294\n= 88065\n"
    )
