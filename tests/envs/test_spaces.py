"""The text space: membership, flattening, and sharing between processes."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces.utils import flatten, flatten_space, unflatten
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory
from hypothesis import given
from hypothesis import strategies as st

from turngym._errors import InputError
from turngym.envs.spaces import UnicodeText

SPACE = UnicodeText(20)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)


@given(st.text())
def test_membership_is_type_and_length(text: str) -> None:
    assert (text in UnicodeText(8)) == (len(text) <= 8)


@pytest.mark.parametrize("value", [None, 3, b"left", ["left"], np.array("left")])
def test_only_strings_are_members(value: object) -> None:
    assert value not in UnicodeText(8)


def test_samples_are_members_and_seeded() -> None:
    first, second = UnicodeText(40, seed=3), UnicodeText(40, seed=3)
    samples = [first.sample() for _ in range(20)]
    assert samples == [second.sample() for _ in range(20)]
    assert all(sample in first and (sample == "" or sample.isprintable()) for sample in samples)


def test_equality_and_repr() -> None:
    assert UnicodeText(8) == UnicodeText(8) != UnicodeText(9)
    assert UnicodeText(8) != "UnicodeText(8)"
    assert repr(UnicodeText(8)) == "UnicodeText(8)"


@given(ANY_TEXT)
def test_flattening_round_trip(text: str) -> None:
    codes = flatten(SPACE, text)
    assert codes in flatten_space(SPACE)
    assert unflatten(SPACE, codes) == text


def shared(size: int) -> tuple[Any, Callable[[int, str], None]]:
    """A view of shared texts, and how to write one of them."""
    memory: Any = create_shared_memory(SPACE, n=size)
    write: Any = write_to_shared_memory
    return read_from_shared_memory(SPACE, memory, n=size), lambda index, text: write(SPACE, index, text, memory)


@given(st.lists(ANY_TEXT, min_size=3, max_size=3))
def test_shared_memory_round_trip(texts: list[str]) -> None:
    view, write = shared(3)
    for index, text in enumerate(texts):
        write(index, text)
    assert list(view) == texts
    assert deepcopy(view) == tuple(texts) == view[:]
    assert view[-1] == texts[-1] and len(view) == 3


def test_copied_texts_do_not_change_with_the_memory() -> None:
    view, write = shared(1)
    write(0, "before, at length")
    copied = deepcopy(view)
    write(0, "after")
    assert copied == ("before, at length",)
    assert view[0] == "after"


@pytest.mark.parametrize("seed", [np.int64(3), np.uint64(2**64 - 1), 10**30])
def test_seeds_of_any_size_and_kind(seed: Any) -> None:
    samples = []
    for one in (seed, int(seed)):
        space = UnicodeText(50, seed=one)
        samples.append([space.sample(), space.seed(one) is not None and space.sample()])
    assert samples[0] == samples[1]


@pytest.mark.parametrize("seed", [-1, 2.5, "3", True])
def test_other_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(InputError, match=r"^seed must be "):
        UnicodeText(50, seed=seed)
    with pytest.raises(InputError, match=r"^seed must be "):
        UnicodeText(50).seed(seed)
