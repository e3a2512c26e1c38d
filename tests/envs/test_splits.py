"""Splits are disjoint by content, stable over time, and leave the distribution of a family as it is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.splits import MAX_DRAWS, SPLITS, Split, draw_instance, split_of


def draw_number(rng: np.random.Generator) -> int:
    return int(rng.integers(1000))


@given(st.text())
def test_every_content_has_one_split(content: str) -> None:
    assert split_of(content) in SPLITS
    assert split_of(content) == split_of(content)


def test_shares_are_eight_one_one() -> None:
    counts = Counter(split_of(str(number)) for number in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert counts["validation"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_assignment_never_changes() -> None:
    """Another hash would silently move test instances into training."""
    assert "".join(split_of(str(number))[1] for number in range(24)) == "reearrrerarrrrrrrrrrrrrr"


@given(st.sampled_from(SPLITS), st.integers(0, 2**31))
def test_instance_is_a_function_of_split_and_index(split: Split, index: int) -> None:
    first = draw_instance(split, index, draw_number, str)
    assert first == draw_instance(split, index, draw_number, str)
    assert split_of(str(first)) == split


def test_splits_of_a_small_family_are_disjoint_and_exhaustive() -> None:
    drawn = {split: {draw_instance(split, index, draw_number, str) for index in range(4000)} for split in SPLITS}
    assert not drawn["train"] & drawn["test"] and not drawn["train"] & drawn["validation"]
    assert not drawn["validation"] & drawn["test"]
    assert drawn["validation"] | drawn["test"] == {n for n in range(1000) if split_of(str(n)) != "train"}


def test_rejection_keeps_the_distribution() -> None:
    means = [np.mean([draw_instance(split, index, draw_number, str) for index in range(4000)]) for split in SPLITS]
    # A split holds at least 80 numbers, so its own mean lies within about 289 / sqrt(80) of the family's.
    assert means == pytest.approx([499.5] * 3, abs=3 * 289 / np.sqrt(80))
    assert means[0] == pytest.approx(499.5, abs=3 * 289 / np.sqrt(800))


def test_family_without_instances_of_a_split_is_refused() -> None:
    missing = next(split for split in SPLITS if split != split_of("only"))
    with pytest.raises(ValueError, match=f"no {missing} instance in {MAX_DRAWS} draws: .* widen"):
        draw_instance(missing, 0, lambda rng: "only", str)
