"""Puzzles are solvable, in range, of their split, and drawn uniformly."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from turngym.envs.countdown_puzzles import PuzzleFamily
from turngym.envs.countdown_solver import multiset, solvable
from turngym.envs.splits import SPLITS, split_of


def test_puzzles_are_solvable_in_range_and_of_their_split() -> None:
    family = PuzzleFamily(4, (2, 9), (10, 50))
    for split in SPLITS:
        for index in range(20):
            puzzle = family.puzzle(split, index)
            assert split_of(puzzle.key) == split
            assert solvable(puzzle.numbers, puzzle.target)
            assert list(puzzle.numbers) == sorted(puzzle.numbers)
            assert len(puzzle.numbers) == 4
            assert all(2 <= number <= 9 for number in puzzle.numbers)
            assert 10 <= puzzle.target <= 50


def test_puzzles_are_functions_of_split_and_index() -> None:
    first, second = PuzzleFamily(3, (1, 20), (1, 100)), PuzzleFamily(3, (1, 20), (1, 100))
    keys = [first.puzzle("train", index).key for index in range(50)]
    assert keys == [second.puzzle("train", index).key for index in range(50)]
    assert len(set(keys)) > 45


def test_targets_of_given_numbers_are_uniform() -> None:
    family = PuzzleFamily(3, (7, 7), (1, 60))
    usable = {t for t in range(1, 61) if solvable(multiset((7, 7, 7)), t) and split_of(f"7,7,7->{t}") == "train"}
    drawn = Counter(int(family.puzzle("train", index).target) for index in range(400))
    assert set(drawn) == usable
    expected = 400 / len(usable)
    assert all(abs(count - expected) < 5 * np.sqrt(expected) for count in drawn.values())


def test_family_without_puzzles_is_an_error() -> None:
    with pytest.raises(ValueError, match="no solvable train puzzle"):
        PuzzleFamily(3, (1, 1), (50, 60)).puzzle("train", 0)
