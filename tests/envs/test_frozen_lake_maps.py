"""Lakes are drawn as the plain rule says, and where moves lead on them is what Gymnasium says."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from gymnasium.envs.toy_text import frozen_lake
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.envs import frozen_lake_maps, splits
from turngym.envs.frozen_lake_maps import (
    EDGE,
    REMEMBERED,
    Rows,
    draw_lake,
    ice_distances,
    lake_of,
    neighbors,
    potentials,
    transition_table,
    way,
)
from turngym.envs.splits import SPLITS, Split

BAY = ("SFFH", "FHFF", "FFFG", "FFFF")


def plainly_drawn(split: Split, index: int, size: int, frozen_probability: float, corners: bool, most: int) -> Rows:
    """Draw a lake by the rule: lakes with a way are drawn until one is of the split."""

    def with_way(rng: np.random.Generator) -> Rows:
        for _ in range(most):
            ice = rng.random((size, size)) < frozen_probability
            cells = rng.choice(size**2, size=2, replace=False).tolist() if not corners else [0, size**2 - 1]
            letters = np.where(ice, "F", "H")
            letters.flat[cells] = "S", "G"
            rows = tuple("".join(row) for row in letters)
            if way(rows):
                return rows
        raise ValueError(f"no lake with a way in {most} draws; raise frozen_probability or lower size")

    return splits.draw_instance(split, index, with_way, "/".join)


@given(
    st.sampled_from(SPLITS), st.integers(0, 2**33), st.integers(2, 9), st.sampled_from([0.5, 0.8, 1.0]), st.booleans()
)
@settings(max_examples=100, deadline=None)
def test_lakes_are_those_of_the_plain_rule(
    split: Split, index: int, size: int, frozen_probability: float, corners: bool
) -> None:
    if corners and (size < 4 or frozen_probability == 1.0):
        corners = False  # so few lakes of this kind have a way that they cannot be split
    rows = draw_lake(split, index, size, frozen_probability, corners).rows
    assert rows == plainly_drawn(split, index, size, frozen_probability, corners, splits.MAX_DRAWS)


@pytest.mark.parametrize(("size", "frozen_probability"), [(2, 0.5), (4, 0.1), (3, 0.9)])
def test_rare_lakes_are_found_or_refused_as_the_plain_rule_says(
    size: int, frozen_probability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a few candidates hardly any lake between corners has a way or is of the split."""
    most, said = 12, set()
    monkeypatch.setattr(splits, "MAX_DRAWS", most)
    monkeypatch.setattr(frozen_lake_maps, "MAX_DRAWS", most)
    draw_lake.cache_clear()
    for split in SPLITS:
        for index in range(60):
            try:
                expected: object = plainly_drawn(split, index, size, frozen_probability, True, most)
            except ValueError as refusal:
                expected = str(refusal)
            try:
                found: object = draw_lake(split, index, size, frozen_probability, corners=True).rows
            except ValueError as refusal:
                found = str(refusal)
            assert found == expected
            said.add(type(found))
    draw_lake.cache_clear()
    assert str in said


def test_a_lake_knows_itself() -> None:
    lake = lake_of(BAY)
    assert (lake.key, lake.start, lake.goal) == ("SFFH/FHFF/FFFG/FFFF", 0, 11)
    assert lake.grid == "_ _ _ O\n_ O _ _\n_ _ _ G\n_ _ _ _"
    assert [lake.grid[2 * cell] for cell in (3, 5, 11)] == ["O", "O", "G"]
    assert (lake.words[3], lake.words[11], lake.words[0], lake.words[EDGE]) == ("hole", "goal", "ice", "edge")
    assert lake.place(11) == "row 3 column 4"


def test_the_lakes_that_are_kept_are_bounded() -> None:
    assert draw_lake.cache_info().maxsize == REMEMBERED
    assert draw_lake("train", 0, 4, 0.8, corners=False) is draw_lake("train", 0, 4, 0.8, corners=False)


# Ways ---------------------------------------------------------------------------------------------------------------


def test_neighbors_end_at_the_edge() -> None:
    assert neighbors(2, 3)[0] == (EDGE, 3, 1, EDGE)
    assert neighbors(2, 3)[4] == (3, EDGE, 5, 1)


def test_distances_go_around_holes() -> None:
    assert ice_distances(("SHG", "FHF", "FFF"), 2) == {2: 0, 5: 1, 8: 2, 7: 3, 6: 4, 3: 5, 0: 6}
    assert ice_distances(("SHG",), 2) == {2: 0}
    assert way(("SHG", "FFF")) == {2: 0, 5: 1, 4: 2, 3: 3, 0: 4} and way(("SHG", "FHF")) is None


def test_potentials_are_shares_of_the_farthest_way() -> None:
    assert potentials(("SFH", "HFF", "GFF")) == (0, 1 / 4, 0, 0, 2 / 4, 1 / 4, 1, 3 / 4, 2 / 4)


# Moves --------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_tables_are_gymnasiums(index: int, size: int) -> None:
    rows = draw_lake("test", index, size, 0.8, corners=False).rows
    assert transition_table(rows, 1.0) == frozen_lake.FrozenLakeEnv(desc=list(rows), is_slippery=False).P
    slippery = frozen_lake.FrozenLakeEnv(desc=list(rows), is_slippery=True).P
    for cell, by_move in transition_table(rows, 1 / 3).items():
        for move, outcomes in by_move.items():
            assert [outcome[1:] for outcome in outcomes] == [outcome[1:] for outcome in slippery[cell][move]]
            assert [outcome[0] for outcome in outcomes] == pytest.approx([one[0] for one in slippery[cell][move]])


@pytest.mark.skipif(
    "success_rate" not in inspect.signature(frozen_lake.FrozenLakeEnv).parameters,
    reason="this release of Gymnasium has no success_rate",
)
@pytest.mark.parametrize("success_rate", [0.0, 0.5, 0.8])
def test_windy_table_is_gymnasiums(success_rate: float) -> None:
    theirs = frozen_lake.FrozenLakeEnv(desc=list(BAY), is_slippery=True, success_rate=success_rate)
    assert transition_table(BAY, success_rate) == theirs.P
