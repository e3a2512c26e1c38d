"""Small numbers are those that NumPy's generator draws from the same seed, in any order of what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.draws import HALF, Draws

COUNTS = st.integers(1, 100_000) | st.integers(HALF - 5, HALF - 1) | st.just(3 * 2**30)
CALLS = st.one_of(
    st.tuples(st.just("below"), COUNTS),
    st.tuples(st.just("under"), st.floats(0, 1), st.integers(1, 300)),
    st.tuples(st.just("two_below"), st.integers(3, 10_000)),
)


def drawn(rng: np.random.Generator, call: str, *arguments: float) -> object:
    """Return what NumPy draws for a call of `Draws`."""
    if call == "below":
        return int(rng.integers(int(arguments[0])))
    if call == "under":
        return bytes((rng.random(int(arguments[1])) < arguments[0]).tolist())
    return tuple(rng.choice(int(arguments[0]), size=2, replace=False).tolist())


@given(st.integers(0, 2**64), st.lists(CALLS, max_size=30))
def test_numbers_are_numpys(seed: int, calls: list[tuple[str, float]]) -> None:
    draws, rng = Draws(np.random.SeedSequence(seed)), np.random.default_rng(seed)
    for name, *arguments in calls:
        assert getattr(draws, name)(*arguments) == drawn(rng, name, *arguments)


@pytest.mark.parametrize("count", [3 * 2**30, HALF - 1, 10])
def test_thousands_of_numbers_are_numpys(count: int) -> None:
    """Every fourth number below 3 * 2**30 is rejected once; blocks end anywhere."""
    draws, rng = Draws(np.random.SeedSequence(5)), np.random.default_rng(5)
    assert [draws.below(count) for _ in range(5_000)] == [int(rng.integers(count)) for _ in range(5_000)]


@pytest.mark.parametrize("share", [0.0, 2**-53, 0.5, 0.5 + 2**-53, 1 - 2**-53, 1.0])
def test_shares_at_the_borders_are_compared_exactly(share: float) -> None:
    draws = Draws(np.random.SeedSequence(0))
    border = int(share * 2**53) << 11
    words = [word for word in (0, border - 1, border, border + 2**11 - 1, border + 2**11) if 0 <= word < 2**64]
    draws._words = words
    assert list(draws.under(share, len(words))) == [(word >> 11) * 2.0**-53 < share for word in words]
