"""Countdown thought aloud: a search of at most three numbers that a player can write down and check, line by line.

Whoever solves a puzzle of three numbers at a glance has to know it by heart. Written down, every entry of the search is
a small sum that puzzles share, so that a model which learns it solves puzzles it has never seen.

Example:
    >>> from fractions import Fraction
    >>> from turngym.envs.countdown_aloud import think
    >>> text, steps = think((Fraction(3), Fraction(3), Fraction(11)), Fraction(5))
    >>> print(text, end="")
    11: 6 16 - 55 - / 3 3: 6 0 9 1
    3 + 3 = 6
    11 - 6 = 5
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from turngym.envs.countdown_solver import Numbers, Step, Steps

MAX_THOUGHT = 3
"""The most numbers that are searched aloud: ten entries for each number that may come last."""
MAX_ENTRY = 999
"""The largest number that is written; beyond it stands the mark of what there is not."""
NONE = "-"
"""The mark of what there is not, or not as a whole number from 0 up."""


def think(numbers: Numbers, target: Fraction) -> tuple[str, Steps]:
    """Search for a way to make the target, and write the search down.

    Three numbers: a line for each that may come last, the largest first, such as `11: 6 16 - 55 - / 3 3: 6 0 9 1`.
    Before the stroke stands what the other two would have to make, for a last step by difference (11 - 6 or, where the
    target is larger, 6 + 11), by 16 - 11, by a product, by 55 / 11 and by 11 divided; after it their sum, difference,
    product and quotient. The search ends with the first line that has a number on both sides, and with the two steps.
    Two numbers: one line with what they make, `6 11: 17 5 66 -`, and the step.

    Args:
        numbers: What is left.
        target: A whole number from 1 up.

    Returns:
        The text, in lines, and the steps that it ends with; both empty where the numbers are not two or three whole
        numbers from 0 up. Steps alone are empty where the search finds none, as where a fraction is needed.
    """
    if not 2 <= len(numbers) <= MAX_THOUGHT or any(number.denominator != 1 or number < 0 for number in numbers):
        return "", ()
    if len(numbers) == 2:
        low, high = numbers
        made = _made(low, high)
        found = [step for step in made if step is not None and step.value == target]
        return f"{_listed(low, high, made)}\n", tuple(found[:1])
    lines = []
    for at in reversed(range(3)):
        last = numbers[at]
        if at < 2 and last == numbers[at + 1]:
            continue
        low, high = numbers[:at] + numbers[at + 1 :]
        needed, made = list(_needed(last, target)), _made(low, high)
        entries = " ".join(_entry(value) for value in needed)
        lines.append(f"{last}: {entries} / {_listed(low, high, made)}")
        for first in made:
            if first is not None and first.value in needed and first.value <= MAX_ENTRY:
                second = _closing(last, first.value, target)
                lines += [f"{first} = {first.value}", f"{second} = {target}"]
                return _text(lines), (first, second)
    return _text(lines), ()


def _needed(last: Fraction, target: Fraction) -> Iterator[Fraction | None]:
    """Yield what makes the target with the last number, by difference or sum, as minuend, factor, dividend, divisor."""
    yield abs(target - last)
    yield target + last
    yield _whole(target, last)
    yield target * last if last else None
    yield _whole(last, target)


def _made(low: Fraction, high: Fraction) -> list[Step | None]:
    """Return the sum, the difference, the product and the quotient of two numbers, as steps; None for a fraction."""
    quotient = Step(high, "/", low) if _whole(high, low) is not None else None
    return [Step(high, "+", low), Step(high, "-", low), Step(high, "*", low), quotient]


def _closing(last: Fraction, made: Fraction, target: Fraction) -> Step:
    """Return the step that makes the target of the last number and what the others made."""
    steps = [Step(made, "+", last), Step(last, "-", made), Step(made, "-", last), Step(made, "*", last)]
    steps += [Step(made, "/", last)] if last else []
    steps += [Step(last, "/", made)] if made else []
    return next(step for step in steps if step.value == target)


def _whole(dividend: Fraction, divisor: Fraction) -> Fraction | None:
    """Return a quotient if it is a whole number from 1 up."""
    if not dividend or not divisor or (dividend / divisor).denominator != 1:
        return None
    return dividend / divisor


def _listed(low: Fraction, high: Fraction, made: list[Step | None]) -> str:
    return f"{low} {high}: " + " ".join(_entry(None if step is None else step.value) for step in made)


def _entry(value: Fraction | None) -> str:
    return NONE if value is None or value > MAX_ENTRY else str(value)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
