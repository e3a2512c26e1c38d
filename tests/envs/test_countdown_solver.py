"""The solver agrees with plain enumeration and with what is known of the game of 24."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.envs.arithmetic import evaluate
from turngym.envs.countdown_solver import (
    MAX_CHEAP,
    OPERATORS,
    Numbers,
    Step,
    combined,
    expression,
    legal_steps,
    multiset,
    random_play_success,
    reachable,
    reachable_ratios,
    solvable,
    solve,
)


def enumerated(numbers: Numbers) -> set[Fraction]:
    """Return all that play can end with, by playing everything."""
    if len(numbers) == 1:
        return set(numbers)
    return {value for step in legal_steps(numbers) for value in enumerated(combined(numbers, step))}


def check_solution(numbers: Numbers, target: Fraction) -> None:
    """Check that the steps of a solution are legal and end with the target, and that the expression says the same."""
    steps = solve(numbers, target)
    assert steps is not None
    assert len(steps) == len(numbers) - 1
    remaining = numbers
    for step in steps:
        assert step in legal_steps(remaining)
        remaining = combined(remaining, step)
    assert remaining == (target,)
    written = evaluate(expression(numbers, steps))
    assert written.value == target
    assert sorted(written.numbers) == list(numbers)


def test_steps_have_values_and_spellings() -> None:
    a, b = Fraction(7, 2), Fraction(-3)
    assert [Step(a, op, b).value for op in OPERATORS] == [Fraction(1, 2), Fraction(13, 2), Fraction(-21, 2), a / b]
    assert str(Step(a, "-", b)) == "7/2 - -3"


def test_combining_replaces_one_of_equal_numbers() -> None:
    numbers = multiset((9, 3, 3))
    assert combined(numbers, Step(Fraction(3), "*", Fraction(9))) == multiset((3, 27))
    with pytest.raises(ValueError, match="not in list"):
        combined(numbers, Step(Fraction(9), "+", Fraction(9)))


def test_legal_steps_are_ordered_pairs_without_division_by_zero() -> None:
    assert len(legal_steps(multiset((3, 7, 9)))) == 3 * 2 * 4
    assert len(legal_steps(multiset((5, 5)))) == 8
    assert [str(step) for step in legal_steps(multiset((0, 5)))] == [
        *("0 + 5", "0 - 5", "0 * 5", "0 / 5"),
        *("5 + 0", "5 - 0", "5 * 0"),
    ]


@pytest.mark.parametrize("numbers", [(3, 7, 9), (1, 1, 1), (2, 2, 4), (20, 19, 1), (1, 2, 3, 4)])
def test_reachable_values_are_those_of_all_plays(numbers: tuple[int, ...]) -> None:
    assert reachable(multiset(numbers)) == enumerated(multiset(numbers))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fractions(-3, 3, max_denominator=3) | st.integers(-2, 9), min_size=1, max_size=4), st.data())
def test_solvable_is_what_is_reachable(numbers: list[Fraction | int], data: st.DataObject) -> None:
    start = multiset(tuple(numbers))
    values = reachable(start)
    assert all(solvable(start, target) for target in values)
    if len(start) <= MAX_CHEAP:
        assert reachable_ratios(tuple((n.numerator, n.denominator) for n in start)) == {
            (value.numerator, value.denominator) for value in values
        }
    for target in data.draw(st.lists(st.fractions(-40, 40, max_denominator=12) | st.integers(-5, 60), max_size=20)):
        assert solvable(start, target) == (target in values)


def test_game_of_24_has_its_known_number_of_solvable_hands() -> None:
    hands = list(combinations_with_replacement(range(1, 10), 4))
    assert len(hands) == 495
    assert sum(solvable(multiset(hand), 24) for hand in hands) == 404


@pytest.mark.parametrize("numbers", [(3, 3, 8, 8), (1, 5, 5, 5), (3, 3, 7, 7), (4, 4, 7, 7), (1, 3, 4, 6)])
def test_hands_that_need_fractions(numbers: tuple[int, ...]) -> None:
    check_solution(multiset(numbers), Fraction(24))


def test_products_with_zero() -> None:
    check_solution(multiset((5, 5, 7, 7)), Fraction(0))
    check_solution(multiset((2, 2, 3, 8, 11)), Fraction(0))


def test_single_number() -> None:
    assert solve(multiset((5,)), Fraction(5)) == ()
    assert solve(multiset((5,)), Fraction(6)) is None
    assert expression(multiset((5,)), ()) == "5"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=3, max_size=6), st.integers(0, 2**32 - 1))
def test_whatever_play_can_reach_is_solved(numbers: list[int], seed: int) -> None:
    start = remaining = multiset(tuple(numbers))
    rng = np.random.default_rng(seed)
    while len(remaining) > 1:
        steps = legal_steps(remaining)
        remaining = combined(remaining, steps[rng.integers(len(steps))])
    check_solution(start, remaining[0])


def test_search_from_the_target_misses_nothing() -> None:
    numbers = multiset((1, 2, 4, 11, 19))
    values = reachable(numbers)
    targets = [Fraction(target) for target in (*range(0, 60, 7), 600, 1000, 4999)] + [Fraction(1, 7), Fraction(-5)]
    assert [solve(numbers, target) is not None for target in targets] == [target in values for target in targets]
    assert {target in values for target in targets} == {True, False}


def test_six_numbers_without_a_solution() -> None:
    assert solve(multiset((1, 1, 1, 1, 1, 1)), Fraction(13)) is None
    assert not solvable(multiset((1, 1, 1, 1, 1, 1)), 13)
    assert solvable(multiset((1, 1, 1, 1, 1, 1)), 9)


def test_solutions_prefer_whole_intermediate_values() -> None:
    steps = solve(multiset((3, 7, 9)), Fraction(1))
    assert steps is not None
    assert all(step.value >= 0 and step.value.denominator == 1 for step in steps)


@pytest.mark.parametrize(
    ("numbers", "target", "probability"),
    [((3, 4), 12, 2 / 8), ((2, 2), 4, 4 / 8), ((0, 5), 0, 3 / 7), ((3, 4), 99, 0.0), ((6,), 6, 1.0)],
)
def test_random_play_by_hand(numbers: tuple[int, ...], target: int, probability: float) -> None:
    assert random_play_success(multiset(numbers), Fraction(target)) == pytest.approx(probability)


def test_random_play_adds_up_to_one() -> None:
    numbers = multiset((2, 3, 5))
    assert sum(random_play_success(numbers, value) for value in reachable(numbers)) == pytest.approx(1.0)


def test_expressions_must_use_everything() -> None:
    numbers = multiset((3, 7, 9))
    with pytest.raises(ValueError, match="2 numbers remain"):
        expression(numbers, (Step(Fraction(3), "*", Fraction(7)),))
    with pytest.raises(ValueError, match="8 is not among"):
        expression(numbers, (Step(Fraction(8), "*", Fraction(7)),))
