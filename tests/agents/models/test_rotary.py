"""Rotary pairs: which are fast, which are slow, and which shapes have enough of both."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.models.rotary import check_copying, rotary_pairs


@given(half=st.integers(1, 64), exponent=st.floats(0.5, 12.0, allow_nan=False), context_length=st.integers(32, 100_000))
def test_fast_pairs_come_first_and_slow_ones_last(half: int, exponent: float, context_length: int) -> None:
    pairs = rotary_pairs(2 * half, base=10.0**exponent, context_length=context_length)
    assert len(pairs.frequencies) == half and pairs.frequencies[0] == 1.0
    assert list(pairs.frequencies) == sorted(pairs.frequencies, reverse=True)
    assert pairs.fast == tuple(range(len(pairs.fast)))
    assert pairs.slow == tuple(range(half - len(pairs.slow), half))
    assert not set(pairs.fast) & set(pairs.slow)


def test_the_frequencies_are_those_of_rotary_positions() -> None:
    pairs = rotary_pairs(8, base=10_000.0, context_length=100)
    assert pairs.frequencies == pytest.approx([1.0, 0.1, 0.01, 0.001])
    assert pairs.fast == (0, 1) and pairs.slow[-1] == 3 and math.isclose(pairs.frequencies[3] * 100, 0.1)


@pytest.mark.parametrize(("width", "rope_base"), [(32, 1e7), (64, 1e7), (64, 1e4), (16, 1e7)])
def test_shapes_that_can_copy_are_accepted(width: int, rope_base: float) -> None:
    check_copying(layers=2, width=width, rope_base=rope_base, context_length=1024)


TOO_SLOW = "copying takes 2 rotary pairs that tell neighbours apart, and heads of width 16 have 1 with a rope_base of "
TOO_FAST = (
    "copying takes 4 rotary pairs that hardly turn within the context, and heads of width 16 have 1 with a rope_base"
)


@pytest.mark.parametrize(
    ("layers", "width", "rope_base", "sentence"),
    [
        (1, 32, 1e7, "copying takes two layers: raise layers to at least 2"),
        (4, 16, 1e4, f"{TOO_FAST} of 10000 and a context of 1024: raise rope_base, or take fewer and wider heads"),
        (4, 16, 1e12, rf"{TOO_SLOW}1e\+12 and a context of 1024: lower rope_base, or take fewer and wider heads"),
    ],
)
def test_shapes_that_cannot_copy_are_refused(layers: int, width: int, rope_base: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        check_copying(layers=layers, width=width, rope_base=rope_base, context_length=1024)
