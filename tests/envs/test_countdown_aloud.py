"""Countdown thought aloud: every line is true, and the steps it ends with make the target."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.countdown_aloud import MAX_ENTRY, NONE, think
from turngym.envs.countdown_puzzles import PuzzleFamily
from turngym.envs.countdown_solver import combined, multiset

numbers_of_a_puzzle = st.lists(st.integers(0, 40), min_size=2, max_size=3).map(lambda numbers: multiset(tuple(numbers)))
targets = st.integers(1, 100).map(Fraction)


def test_three_numbers_are_searched_from_the_last_one() -> None:
    text, steps = think(multiset((2, 5, 9)), Fraction(7))
    assert text == (
        "9: 2 16 - 63 - / 2 5: 7 3 10 -\n"
        "5: 2 12 - 35 - / 2 9: 11 7 18 -\n"
        "2: 5 9 - 14 - / 5 9: 14!\n"
        "9 + 5 = 14\n"
        "14 / 2 = 7\n"
    )
    assert [str(step) for step in steps] == ["9 + 5", "14 / 2"]


def test_two_numbers_are_one_line() -> None:
    text, steps = think(multiset((6, 11)), Fraction(5))
    assert text == "6 11: 17 5!\n" and [str(step) for step in steps] == ["11 - 6"]
    text, steps = think(multiset((6, 11)), Fraction(7))
    assert text == "6 11: 17 5 66 -\n" and steps == ()


def test_the_same_number_comes_last_once() -> None:
    text, steps = think(multiset((4, 4, 4)), Fraction(99))
    assert text == "4: 95 103 - 396 - / 4 4: 8 0 16 1\n" and steps == ()


@pytest.mark.parametrize("numbers", [(1, 2, 3, 4), (5,), (Fraction(7, 2), 3), (-3, 7)])
def test_other_numbers_are_not_thought_about(numbers: tuple[int | Fraction, ...]) -> None:
    assert think(multiset(numbers), Fraction(6)) == ("", ())


@given(numbers_of_a_puzzle, targets)
def test_steps_make_the_target_and_entries_are_what_they_say(numbers: tuple[Fraction, ...], target: Fraction) -> None:
    text, steps = think(numbers, target)
    left = numbers
    for step in steps:
        left = combined(left, step)
    assert left == (target,) if steps else left == numbers
    for line in text.splitlines():
        if " = " in line:
            shown, value = line.split(" = ")
            one, operator, other = shown.split()
            assert {"+": int(one) + int(other), "-": int(one) - int(other), "*": int(one) * int(other),
                    "/": Fraction(int(one), int(other) or 1)}[operator] == int(value)  # fmt: skip
            continue
        rest = line.rpartition(" / ")[2]
        low, high = map(int, rest.partition(":")[0].split())
        made = rest.partition(":")[2].split()
        assert (len(made) == 4 and "!" not in rest) or made[-1].endswith("!")
        product, quotient = (low * high, high // low if low and high and high % low == 0 else NONE)
        results = [low + high, high - low, product if product <= MAX_ENTRY else NONE, quotient]
        assert [entry.rstrip("!") for entry in made] == [str(result) for result in results[: len(made)]]


def test_puzzles_of_the_suite_are_found_by_it() -> None:
    family = PuzzleFamily(3, (1, 20), (1, 100))
    puzzles = [family.puzzle("test", index) for index in range(300)]
    assert all(think(puzzle.numbers, puzzle.target)[1] for puzzle in puzzles)
