"""Arguments and settings: converted where the meaning is plain, refused in a sentence where it is not."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from turngym._errors import InputError
from turngym.arguments import Count, Finite, Index, Positive, Range, Share, checked, checked_arguments, range_of

Pair = tuple[Count, Count]


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, Count, 3),
        (np.int64(3), Count, 3),
        (np.uint8(3), Count, 3),
        (np.array(3), Count, 3),
        (10**30, Index, 10**30),
        (1, Share, 1.0),
        (np.float32(0.5), Share, 0.5),
        (np.int64(1), Share, 1.0),
        (Fraction(1, 2), Share, 0.5),
        (None, Count | None, None),
        (2, Count | None, 2),
        ("left", Literal["left", "right"], "left"),
        (np.str_("left"), Literal["left", "right"], "left"),
        ((1, 0.5), list[Share], [1.0, 0.5]),
        ([], list[Share], []),
        ([1, 2], Pair, (1, 2)),
        (np.array([1, 2]), Pair, (1, 2)),
        ((1, np.int16(2)), Pair, (1, 2)),
        ([1, 2, 3], tuple[Count, ...], (1, 2, 3)),
        ({"a": None}, dict[str, Any], {"a": None}),
        ({"a": (np.float64(0.5), {"b": [np.int64(3)]})}, dict[str, Any], {"a": [0.5, {"b": [3]}]}),
        ("", str, ""),
        (Path("a") / "b", str, str(Path("a") / "b")),
        (False, bool, False),
        (np.True_, bool, True),
        (print, Any, print),
        ([1], Any, [1]),
        ("2", Count | str, "2"),
        (-math.inf, Annotated[float, Range(infinite=True)], -math.inf),
    ],
)
def test_values_are_converted_to_their_types(value: object, hint: object, expected: object) -> None:
    found = checked(value, hint, "here")
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "reason"),
    [
        ("2", Count, "must be a whole number, got '2'"),
        (2.5, Count, "must be a whole number, got 2.5"),
        (2.0, Count, "must be a whole number, got 2.0"),
        (np.float64(2), Count, "must be a whole number, got 2.0"),
        (math.nan, Count, "must be a whole number, got nan"),
        (np.array([2]), Count, "must be a whole number, got array([2])"),
        (True, Count, "must be a whole number, got True"),
        ("false", bool, "must be true or false, got 'false'"),
        (0, bool, "must be true or false, got 0"),
        (None, bool, "must be true or false, got None"),
        (math.nan, Share, "must be in [0, 1], got nan"),
        (math.inf, Positive, "must be above 0 and finite, got inf"),
        (math.nan, Finite, "must be finite, got nan"),
        (math.inf, Finite, "must be finite, got inf"),
        (math.nan, Positive, "must be above 0, got nan"),
        ("0.5", Share, "must be a number, got '0.5'"),
        (b"left", Literal["left", "right"], "must be one of 'left', 'right', got b'left'"),
        (["left"], Literal["left", "right"], "must be one of 'left', 'right', got ['left']"),
        ("12", Pair, "must be a list, got '12'"),
        ({1, 2}, Pair, "must be a list, got {1, 2}"),
        ([1], Pair, "must be a list of 2, got [1]"),
        (b"a", str, "must be a text, got b'a'"),
        ([("a", 1)], dict[str, Any], "must be a table, got [('a', 1)]"),
        (3, Path, "must be a Path, got 3"),
    ],
)
def test_other_values_are_refused_in_a_sentence(value: object, hint: object, reason: str) -> None:
    with pytest.raises(InputError, match=f"^here {re.escape(reason)}"):
        checked(value, hint, "here")


def test_the_entries_of_a_pair_are_named_by_it() -> None:
    with pytest.raises(InputError, match=r"^every entry of here must be a whole number, got 1\.5$"):
        checked([1.5, 3], Pair, "here")


def test_the_range_of_a_type() -> None:
    assert range_of(Annotated[int, Range(low=2, high=9)]) == Range(low=2, high=9)
    assert range_of(Positive | None) == Range(low=0, above=True)
    assert range_of(str) is None and range_of(Index) == Range(low=0)


class Box:
    @checked_arguments
    def __init__(self, size: Count, *labels: str, lid: bool = True, note: Any = None, **others: int) -> None:
        """Keep what came."""
        self.kept = (size, labels, lid, note, others)


def test_arguments_are_checked_before_the_function_runs() -> None:
    assert Box(np.int64(3), "a", lid=np.False_, note={1}, depth="x").kept == (3, ("a",), False, {1}, {"depth": "x"})  # type: ignore[arg-type]
    assert Box.__init__.__doc__ == "Keep what came."
    for wrong, sentence in (
        ({"size": "3"}, "size must be a whole number, got '3'"),
        ({"size": 3, "lid": "no"}, "lid must be true or false, got 'no'"),
    ):
        with pytest.raises(InputError, match=f"^{sentence}$"):
            Box(**wrong)  # type: ignore[arg-type]


def test_missing_and_unknown_arguments_are_type_errors_as_ever() -> None:
    @checked_arguments
    def area(width: Count, height: Count = 1) -> int:
        return width * height

    assert area(2, height=3) == 6
    with pytest.raises(TypeError, match="missing a required argument: 'width'"):
        area()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        area(2, depth=3)  # type: ignore[call-arg]
