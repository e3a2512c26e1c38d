"""Splits that cannot leak: the content of an instance decides which split it belongs to.

Drawing train and test instances from different seeds is not enough: small families (a 4x4 lake, a product of two
digits) repeat themselves. Here a hash of the instance's content assigns it to one split, and a generator redraws until
the content belongs to the split it draws for, so no instance can be in two of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar, get_args

import numpy as np

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
MAX_DRAWS = 10_000

Instance = TypeVar("Instance")


def split_of(content: str) -> Split:
    """Return the split of an instance: one tenth each is validation and test, the rest train.

    Args:
        content: A canonical description; instances that are the same up to symmetry must share it.
    """
    bucket = int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest()) % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def draw_instance(
    split: Split,
    index: int,
    draw: Callable[[np.random.Generator], Instance],
    content: Callable[[Instance], str],
) -> Instance:
    """Draw instance `(split, index)`, a pure function of the two.

    Args:
        split: The split to draw for.
        index: Which instance of it, at least 0.
        draw: Draws a candidate from a generator.
        content: The canonical description of a candidate, the argument of `split_of`.

    Raises:
        ValueError: The family is so small that no candidate of this split was found.
    """
    return first_of_split(split, partial(draw, np.random.default_rng(instance_seeds(split, index))), content)


def instance_seeds(split: Split, index: int) -> np.random.SeedSequence:
    """Return the seed of everything that instance `(split, index)` is drawn with."""
    words = [SPLITS.index(split), index]
    # As an array the same words are read in half the time; a larger index takes several words.
    return np.random.SeedSequence(np.array(words, dtype=np.uint32) if index < 2**32 else words)


def first_of_split(split: Split, draw: Callable[[], Instance], content: Callable[[Instance], str]) -> Instance:
    """Draw candidates until one belongs to a split, and return that.

    Args:
        split: The split to draw for.
        draw: Draws a candidate.
        content: As of `draw_instance`.

    Raises:
        ValueError: The family is so small that no candidate of this split was found.
    """
    for _ in range(MAX_DRAWS):
        candidate = draw()
        if split_of(content(candidate)) == split:
            return candidate
    raise ValueError(
        f"no {split} instance in {MAX_DRAWS} draws: this family is too small to be split; widen its ranges"
    )
