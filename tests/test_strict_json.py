"""JSON that every reader takes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.strict_json import dumps, strict

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=9,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": math.nan, "b": [math.inf, -math.inf, 0.5]}, {"a": None, "b": [None, None, 0.5]}),
        (np.float32("nan"), None),
        (np.array([[1.0, math.inf]]), [[1.0, None]]),
        ({"n": np.int64(3), "t": np.True_, "s": np.str_("x")}, {"n": 3, "t": True, "s": "x"}),
        ((1, {2}), [1, [2]]),
        ({3: "x", None: "y"}, {"3": "x", "None": "y"}),
        (Path("a") / "b", str(Path("a") / "b")),
        (10**30, 10**30),
        ("\ud800 \u96ea \U0001f642", "\\ud800 \u96ea \U0001f642"),
        ("\ud83d\ude42", "\\ud83d\\ude42"),
        ({"\udfff": 1}, {"\\udfff": 1}),
        (print, repr(print)),
    ],
)
def test_what_has_no_form_in_json_gets_one(value: Any, expected: Any) -> None:
    assert json.loads(dumps(value), parse_constant=pytest.fail) == expected


@given(ANYTHING)
def test_everything_is_strict_and_written_once(value: Any) -> None:
    text = dumps(value)
    assert text.isascii() and json.loads(text, parse_constant=pytest.fail) == strict(value)
    assert json.dumps(strict(value), allow_nan=False) == text and strict(strict(value)) == strict(value)
    json.dumps(json.loads(text), ensure_ascii=False).encode()  # no half of a character


def test_indented_text_is_for_people() -> None:
    assert dumps({"a": [1]}, indent=1) == '{\n "a": [\n  1\n ]\n}'
