"""Countdown thought aloud: a search of at most three numbers that a player can write down and check, line by line.

Whoever solves a puzzle of three numbers at a glance has to know it by heart. Written down, every entry of the search is
a small sum that puzzles share, so that a model which learns it solves puzzles it has never seen.

Example:
    >>> from fractions import Fraction
    >>> from turngym.envs.countdown_aloud import think
    >>> text, steps = think((Fraction(3), Fraction(3), Fraction(11)), Fraction(5))
    >>> print(text, end="")
    11: 6 16 - 55 - / 3 3: 6!
    3 + 3 = 6
    11 - 6 = 5
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    Three numbers: a line for each that may come last, the largest first, such as `9: 2 16 - 63 - / 2 5: 7 3 10 -`.
    Before the stroke stands what the other two would have to make to reach 7: for a last step by difference (9 - 2 or,
    where the target is larger, 2 + 9), by 16 - 9, by a product, by 63 / 9 and by 9 divided; after it their sum,
    difference, product and quotient. At the first of these that stands before the stroke too there is a `!`, and then
    the two steps. Two numbers: one line with what they make, up to the target, such as `6 11: 17 5!`.

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
        listed, found = _tried(*numbers, [target])
        return f"{listed}\n", () if found is None else (found,)
    lines = []
    for at in reversed(range(3)):
        last = numbers[at]
        if at < 2 and last == numbers[at + 1]:
            continue
        low, high = numbers[:at] + numbers[at + 1 :]
        needed = list(_needed(last, target))
        listed, first = _tried(low, high, needed)
        lines.append(f"{last}: {' '.join(map(_entry, needed))} / {listed}")
        if first is not None:
            second = _closing(last, first.value, target)
            return _text([*lines, f"{first} = {first.value}", f"{second} = {target}"]), (first, second)
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


def _tried(low: Fraction, high: Fraction, needed: Sequence[Fraction | None]) -> tuple[str, Step | None]:
    """Write down what two numbers make, up to the first that is needed, and return that step as well."""
    text = f"{low} {high}:"
    for step in _made(low, high):
        text += f" {_entry(None if step is None else step.value)}"
        if step is not None and step.value in needed and step.value <= MAX_ENTRY:
            return f"{text}!", step
    return text, None


def _entry(value: Fraction | None) -> str:
    return NONE if value is None or value > MAX_ENTRY else str(value)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
