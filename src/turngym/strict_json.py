"""JSON that every reader takes: no NaN, no infinity, and no half of a character."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON in ASCII, as RFC 8259 and strict readers want it.

    A number that is not finite has no form in JSON and becomes null. The halves of characters (unpaired surrogates),
    which agents may write, have no form in UTF-8 and are spelled out, as backslash, u and four digits. Values of NumPy
    are what they hold, sets are lists, paths texts, and what has no form at all is its `repr`.

    Args:
        value: Mappings, sequences, texts, numbers and whatever is in them.
        indent: As of `json.dumps`.
    """
    return json.dumps(strict(value), indent=indent, allow_nan=False)


def strict(value: Any) -> Any:
    """Return a value in the types of JSON, as `dumps` writes it."""
    if isinstance(value, np.generic | np.ndarray):
        return strict(value.tolist())
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {strict(name if isinstance(name, str) else str(name)): strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [strict(item) for item in value]
    return strict(os.fspath(value) if isinstance(value, os.PathLike) else repr(value))
