"""The puzzles of Countdown: numbers and a target that they can make, drawn so that no split shares one with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np

from turngym.envs.countdown_solver import Numbers, multiset, solvable
from turngym.envs.splits import MAX_DRAWS, Split, draw_instance, split_of

MAX_NUMBER = 999
MAX_TARGET = 9_999


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


class PuzzleFamily:
    """Puzzles of one difficulty.

    The numbers are drawn uniformly and independently; the target uniformly from those whole numbers of its range that
    they can make and that belong, with them, to the split. Numbers without such a target are drawn again.

    Args:
        num_numbers: How many numbers, 3 to 6.
        number_range: Smallest and largest number, within 1 to 999.
        target_range: Smallest and largest target, within 1 to 9,999.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, num_numbers: int, number_range: Sequence[int], target_range: Sequence[int]) -> None:
        if not 3 <= num_numbers <= 6:
            raise ValueError(f"num_numbers must be 3 to 6, got {num_numbers}")
        self.num_numbers = num_numbers
        self.number_range = _checked_range("number_range", number_range, MAX_NUMBER)
        self.target_range = _checked_range("target_range", target_range, MAX_TARGET)

    def puzzle(self, split: Split, index: int) -> Puzzle:
        """Return instance `(split, index)`, in a few milliseconds."""
        return draw_instance(split, index, partial(self._draw, split), lambda puzzle: puzzle.key)

    def _draw(self, split: Split, rng: np.random.Generator) -> Puzzle:
        """Draw a solvable puzzle; looking at the split first spares solving those that would be drawn again."""
        low, high = self.number_range
        first, last = self.target_range
        for _ in range(MAX_DRAWS):
            numbers = multiset(tuple(rng.integers(low, high + 1, size=self.num_numbers).tolist()))
            # The first usable target in random order is a uniform draw from the usable ones.
            for target in (rng.permutation(last - first + 1) + first).tolist():
                puzzle = Puzzle(numbers, Fraction(target))
                if split_of(puzzle.key) == split and solvable(numbers, puzzle.target):
                    return puzzle
        raise ValueError(f"no solvable {split} puzzle in {MAX_DRAWS} draws; widen number_range or target_range")


def _checked_range(name: str, bounds: Sequence[int], largest: int) -> tuple[int, int]:
    if len(bounds) != 2 or not 1 <= bounds[0] <= bounds[1] <= largest:
        raise ValueError(f"{name} must be two whole numbers, 1 <= smallest <= largest <= {largest}, got {bounds!r}")
    return bounds[0], bounds[1]
