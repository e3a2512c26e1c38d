"""The puzzles of Countdown: numbers and a target that they can make, drawn so that no split shares one with another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Annotated

import numpy as np

from turngym._errors import InputError
from turngym.arguments import Range, checked_arguments
from turngym.envs.countdown_solver import MAX_CHEAP, Numbers, multiset, reachable_ratios, solvable
from turngym.envs.splits import MAX_DRAWS, Split, draw_instance, split_of
from turngym.envs.written import (
    InvalidInstance,
    UnsolvableInstance,
    Written,
    check_codes,
    check_placed,
    code_of,
    index_of,
)

NumNumbers = Annotated[int, Range(low=3, high=6)]
"""How many numbers a puzzle has."""
Number = Annotated[int, Range(low=1, high=999)]
"""One of them."""
Target = Annotated[int, Range(low=1, high=9_999)]
"""What is to be made of them."""
NumberRange = tuple[Number, Number]
"""The smallest and the largest number."""
TargetRange = tuple[Target, Target]
"""The smallest and the largest target."""

_WRITTEN = re.compile(r"Target: ([0-9]{1,9})\. Numbers: ([0-9]{1,9}(?: [0-9]{1,9})*)\.?")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One instance, solvable with each number exactly once."""

    numbers: Numbers
    """The numbers, sorted."""
    target: Fraction
    """A whole number to make of them."""

    @property
    def key(self) -> str:
        """The canonical description, such as `3,7,9->24`."""
        return f"{','.join(map(str, self.numbers))}->{self.target}"

    def __str__(self) -> str:
        """Return the puzzle as it is written for players."""
        return f"Target: {self.target}. Numbers: {' '.join(map(str, self.numbers))}."


class PuzzleFamily:
    """Puzzles of one difficulty.

    The numbers are drawn uniformly and independently; the target uniformly from those whole numbers of its range that
    they can make and that belong, with them, to the split. Numbers without such a target are drawn again.

    Args:
        num_numbers: How many numbers, 3 to 6.
        number_range: Smallest and largest number, within 1 to 999.
        target_range: Smallest and largest target, within 1 to 9,999.

    Raises:
        InputError: An argument is out of range.
    """

    @checked_arguments
    def __init__(self, num_numbers: NumNumbers, number_range: NumberRange, target_range: TargetRange) -> None:
        for name, (low, high) in {"number_range": number_range, "target_range": target_range}.items():
            if low > high:
                raise InputError(f"{name} must have its smallest first, got {[low, high]}")
        self.num_numbers = num_numbers
        self.number_range = number_range
        self.target_range = target_range

    def puzzle(self, split: Split, index: int) -> Puzzle:
        """Return instance `(split, index)`, in a few milliseconds.

        Raises:
            InputError: The index is numbered by content, and the split has no such puzzle.
        """
        code = code_of(index, self._codes)
        if code is not None:
            return self._decoded(split, code)
        return draw_instance(split, index, partial(self._draw, split), lambda puzzle: puzzle.key)

    def _draw(self, split: Split, rng: np.random.Generator) -> Puzzle:
        """Draw a solvable puzzle; looking at the split first spares solving those that would be drawn again."""
        low, high = self.number_range
        first, last = self.target_range
        for _ in range(MAX_DRAWS):
            numbers = multiset(tuple(rng.integers(low, high + 1, size=self.num_numbers).tolist()))
            targets = (rng.permutation(last - first + 1) + first).tolist()
            # Of the two questions that which costs less is asked first.
            cheap = self.num_numbers <= MAX_CHEAP
            if cheap:
                made = reachable_ratios(tuple((int(number), 1) for number in numbers))
                targets = [target for target in targets if (target, 1) in made]
            start = Puzzle(numbers, Fraction(0)).key[:-1]
            # The first usable target in random order is a uniform draw from the usable ones.
            for target in targets:
                if split_of(f"{start}{target}") == split and (cheap or solvable(numbers, target)):
                    return Puzzle(numbers, Fraction(target))
        raise ValueError(f"no solvable {split} puzzle in {MAX_DRAWS} draws; widen number_range or target_range")

    # As text ----------------------------------------------------------------------------------------------------

    @property
    def form(self) -> str:
        """What a puzzle is and how it is written."""
        (low, high), (first, last) = self.number_range, self.target_range
        return (f"A puzzle is {self.num_numbers} whole numbers from {low} to {high} and a target from {first} to "
                f"{last} that can be made of them with + - * /, using each exactly once. "
                f"It is written such as: {self.puzzle('train', 0)}")  # fmt: skip

    def read(self, text: str) -> Written:
        """Return split and index of the puzzle that a text is; the numbers may stand in any order.

        Raises:
            InvalidInstance: It is none of this family, or nobody can solve it.
        """
        check_codes(self._codes)
        match = _WRITTEN.fullmatch(text.strip())
        if match is None:
            raise InvalidInstance(f"a puzzle is written such as '{Puzzle((Fraction(3), Fraction(7)), Fraction(21))}'")
        target, numbers = int(match[1]), sorted(map(int, match[2].split()))
        (low, high), (first, last) = self.number_range, self.target_range
        if len(numbers) != self.num_numbers:
            raise InvalidInstance(f"a puzzle has {self.num_numbers} numbers, this one {len(numbers)}")
        if not low <= numbers[0] <= numbers[-1] <= high:
            raise InvalidInstance(f"every number lies from {low} to {high}")
        if not first <= target <= last:
            raise InvalidInstance(f"the target lies from {first} to {last}")
        puzzle = Puzzle(multiset(tuple(numbers)), Fraction(target))
        if not solvable(puzzle.numbers, puzzle.target):
            raise UnsolvableInstance(f"{target} cannot be made of these numbers")
        code = 0
        for number in numbers:
            code = code * (high - low + 1) + number - low
        return split_of(puzzle.key), index_of(code * (last - first + 1) + target - first)

    @property
    def _codes(self) -> int:
        """How many texts there are, solvable or not, the numbers in every order."""
        (low, high), (first, last) = self.number_range, self.target_range
        return int((high - low + 1) ** self.num_numbers) * (last - first + 1)

    def _decoded(self, split: Split, code: int) -> Puzzle:
        """Return the puzzle of a code."""
        (low, high), (first, last) = self.number_range, self.target_range
        code, target = divmod(code, last - first + 1)
        numbers = []
        for _ in range(self.num_numbers):
            code, number = divmod(code, high - low + 1)
            numbers.append(low + number)
        puzzle = Puzzle(multiset(tuple(numbers)), Fraction(first + target))
        check_placed(split, puzzle.key)
        if not solvable(puzzle.numbers, puzzle.target):
            raise UnsolvableInstance(f"{puzzle.target} cannot be made of these numbers: {puzzle.key}")
        return puzzle


class WrittenPuzzles:
    """What both forms of Countdown say of their instances: a base of an environment that has a family and a puzzle."""

    family: PuzzleFamily
    """Where puzzles are drawn from."""
    puzzle: Puzzle
    """The present one."""

    @property
    def instance_key(self) -> str:
        """The sorted numbers and the target, such as `3,7,9->24`."""
        return self.puzzle.key

    @property
    def instance_form(self) -> str:
        """What a puzzle is and how it is written."""
        return self.family.form

    def written_instance(self) -> str:
        """Return the present puzzle, such as `Target: 24. Numbers: 3 7 9.`."""
        return str(self.puzzle)

    def read_instance(self, text: str) -> Written:
        """Return split and index of the puzzle that a text is.

        Raises:
            InvalidInstance: It is no puzzle of these ranges, or nobody can solve it.
        """
        return self.family.read(text)
