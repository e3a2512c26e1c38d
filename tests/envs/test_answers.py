"""Numbers and truths of whatever library are taken; texts, None and several at once are not."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from turngym.envs.answers import as_number, as_truth


@pytest.mark.parametrize(
    "value",
    [1, True, 1.0, Fraction(1), Decimal(1), np.float32(1), np.int8(1), np.bool_(True), np.array(1.0), np.array([[1]]),
     torch.tensor(1.0), torch.ones(1)],
)  # fmt: skip
def test_numbers_are_what_they_hold(value: Any) -> None:
    assert as_number(value, "reward") == 1.0 and type(as_number(value, "reward")) is float
    assert math.isnan(as_number(np.float64("nan"), "reward"))
    assert (as_number(10**400, "reward"), as_number(-(10**400), "reward")) == (math.inf, -math.inf)
    if not isinstance(value, Decimal):
        assert as_truth(value, "success") is True and as_truth(value * 0, "success") is False


@pytest.mark.parametrize(
    "value", ["1", b"1", "false", None, 1j, [1.0], {}, np.ones(2), np.array("1"), torch.ones(2), float, len]
)
def test_everything_else_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^the reward must be a number, got "):
        as_number(value, "reward")
    with pytest.raises(TypeError, match=r"^the success must be true or false, got "):
        as_truth(value, "success")


@pytest.mark.parametrize("value", [2, -1, 0.5, math.nan, math.inf, np.int64(3), np.array([math.nan])])
def test_other_numbers_are_no_truth(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^the end of the game must be true or false, got "):
        as_truth(value, "end of the game")
