"""What a game answers, whichever library its numbers are of: never a text for a number, nor a number for a truth."""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Real
from typing import Any

SHOWN = 80
"""Characters of a wrong answer that a message shows."""


def as_number(value: Any, name: str) -> float:
    """Return a number of Python, NumPy or torch, also one that is alone in an array; one beyond all floats is infinite.

    Args:
        value: What a game gave.
        name: What it is, for the message.

    Raises:
        TypeError: It is no number, such as a text or None.
    """
    if type(value) is float:
        return value
    number = _alone(value)
    if not isinstance(number, Real | Decimal):
        raise TypeError(f"the {name} must be a number, got {repr(value)[:SHOWN]}")
    try:
        return float(number)
    except OverflowError:
        return math.inf if number == abs(number) else -math.inf


def as_truth(value: Any, name: str) -> bool:
    """Return a truth of Python, NumPy or torch, or the 0 or 1 that stands for it.

    Args:
        value: What a game gave.
        name: What it is, for the message.

    Raises:
        TypeError: It is neither, such as a text, None or NaN.
    """
    if value is True or value is False:
        return value
    truth = _alone(value)
    if not isinstance(truth, Real) or truth not in (0, 1):
        raise TypeError(f"the {name} must be true or false, got {repr(value)[:SHOWN]}")
    return bool(truth)


def _alone(value: Any) -> Any:
    """Return what an array holds if it holds one thing; everything else as it is."""
    if not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except (TypeError, ValueError, RuntimeError):
        return value
