"""Random streams: the same moment draws the same numbers, and no two moments share any."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from turngym.seeds import Stream, episode_seed, generator

NUMBERS = st.integers(0, 2**32 - 1)
MOMENTS = st.tuples(NUMBERS, st.sampled_from(list(Stream)), st.lists(NUMBERS | st.just(0), max_size=4).map(tuple))


def test_no_two_streams_have_one_number() -> None:
    assert len({stream.value for stream in Stream}) == len(Stream.__members__)


def test_a_moment_draws_the_same_again() -> None:
    drawn = [generator(3, Stream.STEP, 7).integers(2**62, size=5).tolist() for _ in range(2)]
    assert drawn[0] == drawn[1]


@given(st.lists(MOMENTS, min_size=2, max_size=8, unique=True))
def test_different_moments_draw_differently(moments: list[tuple[int, Stream, tuple[int, ...]]]) -> None:
    drawn = {tuple(generator(seed, stream, *moment).integers(2**62, size=2)) for seed, stream, moment in moments}
    assert len(drawn) == len(moments)


def test_a_moment_that_ends_in_zeros_is_another() -> None:
    """A list of words as a seed would not tell them apart: NumPy fills it up with zeros."""
    moments = [(), (0,), (0, 0), (3,), (3, 0), (3, 0, 0)]
    assert len({generator(0, Stream.STEP, *moment).integers(2**62) for moment in moments}) == len(moments)


def test_an_environment_draws_from_no_stream_of_its_episode() -> None:
    own = np.random.default_rng(7).integers(2**62)  # as gymnasium seeds it
    assert own not in {
        generator(7, stream, *moment).integers(2**62) for stream in Stream for moment in ((), (0,), (1,))
    }


def test_a_step_repeated_after_a_rollback_draws_anew() -> None:
    first, *again = (generator(0, Stream.STEP, 3, *moment).integers(2**62) for moment in ((), (1,), (2,)))
    assert len({first, *again}) == 3


def test_seeds_of_episodes_fit_an_environment() -> None:
    moments = list(itertools.product(range(3), (Stream.STAGE_ONE, Stream.EXPLORERS), range(10), range(5)))
    seeds = [episode_seed(*moment) for moment in moments]
    assert all(0 <= seed < 2**31 for seed in seeds) and len(set(seeds)) == len(seeds)
    assert seeds == [episode_seed(*moment) for moment in moments]
