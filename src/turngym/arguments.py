"""Arguments and settings, checked against the types that they are declared with.

A type says which values are taken, so that Python, TOML, JSON and the command line are checked alike:

    size: Annotated[int, Range(low=2, high=16)] = 4    a whole number from 2 to 16
    samples: Count = 4                                 a whole number of at least 1
    fresh_share: Share = 0.75                          a number in [0, 1]
    view: Literal["grid", "coordinates"] = "grid"      one of these words
    max_tokens: Count | None = None                    the same, or None for "off"
    bounds: tuple[Count, Count] = (1, 20)              two of them, in any sequence

Values of NumPy count as what they hold. A text is never a number or a truth, nor is a fraction a whole number.
"""

from __future__ import annotations

import inspect
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, wraps
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from turngym._errors import InputError
from turngym.names import nearest

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Range:
    """The range that a number must lie in."""

    low: float = -math.inf
    """Lower end."""
    high: float = math.inf
    """Upper end."""
    above: bool = False
    """Whether the lower end itself is excluded."""
    infinite: bool = False
    """Whether infinity is allowed."""

    def __str__(self) -> str:
        """Return the range in words: "at least 1", "above 0", "in [0, 1]", "finite"."""
        if self.high == math.inf and self.low == -math.inf:
            return "finite"
        if self.high < math.inf:
            return f"in {'(' if self.above else '['}{self.low}, {self.high}]"
        return f"{'above' if self.above else 'at least'} {self.low:g}"

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range; nan never does."""
        enough = value > self.low if self.above else value >= self.low
        return enough and value <= self.high and (self.infinite or abs(value) != math.inf)


Count = Annotated[int, Range(low=1)]
"""A whole number from 1 on."""
Index = Annotated[int, Range(low=0)]
"""A whole number from 0 on, of any size: an index or the seed of an episode."""
Share = Annotated[float, Range(low=0, high=1)]
"""A number in [0, 1]."""
PositiveShare = Annotated[float, Range(low=0, high=1, above=True)]
"""A number in (0, 1]."""
Positive = Annotated[float, Range(low=0, above=True)]
"""A finite number above 0."""
Finite = Annotated[float, Range()]
"""Any finite number."""
NonNegative = Annotated[float, Range(low=0)]
"""A finite number from 0 on."""
Processes = Annotated[int, Range(low=0, high=1_024)]
"""A number of worker processes, 0 for none."""
Timeout = Annotated[float, Range(low=0, above=True, infinite=True)]
"""How long to wait at most: a number above 0, infinity for ever."""

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_NUMBERS: dict[Any, Any] = {int: numbers.Integral, float: numbers.Real}


def checked_arguments(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Check the arguments of a function, such as `__init__`, before it gets them converted to their declared types.

    Example:
        >>> from turngym.arguments import Count, checked_arguments
        >>> @checked_arguments
        ... def roll(dice: Count = 1) -> int:
        ...     return dice
        >>> roll(dice=2.5)
        Traceback (most recent call last):
        turngym._errors.InputError: dice must be a whole number, got 2.5
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checking(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        bound = signature.bind(*args, **kwargs)
        hints = _hints(function)
        for name, value in bound.arguments.items():
            single = signature.parameters[name].kind not in (inspect.Parameter.VAR_KEYWORD,
                                                             inspect.Parameter.VAR_POSITIONAL)  # fmt: skip
            if single and name in hints:
                bound.arguments[name] = checked(value, hints[name], name)
        return function(*bound.args, **bound.kwargs)

    return checking


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(function, include_extras=True)


def checked(value: Any, hint: Any, place: str) -> Any:
    """Return a value converted to the type that it is declared with.

    Args:
        value: The value as the user gave it.
        hint: The type, `Annotated` with a `Range` or not. Of a class that this module does not list it is checked that
            the value is of it; generic types, protocols and unions of several are left to whoever reads the value.
        place: What to call it in messages, such as "values.samples".

    Raises:
        InputError: It is of another type, or out of range.
    """
    plain, range_, origin, inner = _anatomy(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return value
        options = [option for option in inner if option is not NoneType]
        return value if len(options) > 1 else checked(value, options[0], place)
    if origin is Literal:
        return _checked_word(_without_numpy(value), inner, place)
    if origin is list:
        return [checked(item, inner[0], place) for item in _items(value, place)]
    if origin is tuple:
        return _checked_tuple(value, inner, place)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{place} must be a table, got {value!r}")
        return {_checked_text(key, f"a key of {place}"): _plain_value(item, place) for key, item in value.items()}
    if plain in _WORDS:
        return _checked_plain(_without_numpy(value), plain, range_, place)
    judged = isinstance(plain, type) and plain is not Any and not getattr(plain, "_is_protocol", False)
    if judged and not isinstance(value, plain):
        raise InputError(f"{place} must be a {plain.__name__}, got {value!r}")
    return value


def _checked_word(value: Any, words: tuple[Any, ...], place: str) -> Any:
    if type(value) not in map(type, words) or value not in words:
        raise InputError(f"{place} must be one of {', '.join(map(repr, words))}, got {value!r}"
                         f"{suggestion(value, words)}")  # fmt: skip
    return value


def _checked_tuple(value: Any, kinds: tuple[Any, ...], place: str) -> tuple[Any, ...]:
    items = _items(value, place)
    if kinds[-1:] == (EllipsisType,) or kinds[-1:] == (...,):
        kinds = (kinds[0],) * len(items)
    if len(items) != len(kinds):
        raise InputError(f"{place} must be a list of {len(kinds)}, got {value!r}")
    return tuple(checked(item, kind, f"every entry of {place}") for item, kind in zip(items, kinds, strict=True))


def _items(value: Any, place: str) -> list[Any]:
    if isinstance(value, np.ndarray) and value.ndim:
        return list(value)
    if not isinstance(value, list | tuple):
        raise InputError(f"{place} must be a list, got {value!r}")
    return list(value)


def _checked_plain(value: Any, plain: Any, range_: Range | None, place: str) -> Any:
    if type(value) is plain:
        pass
    elif plain in _NUMBERS and type(value) is not bool and isinstance(value, _NUMBERS[plain]):
        value = int(value) if plain is int else _as_float(value)
    elif plain is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if type(value) is not plain:
        raise InputError(f"{place} must be {_WORDS[plain]}, got {value!r}")
    if range_ is not None and not range_.holds(value):
        finite = " and finite" if value == math.inf == range_.high and range_.low > -math.inf else ""
        raise InputError(f"{place} must be {range_}{finite}, got {value!r}")
    return _checked_text(value, place) if plain is str else value


def _checked_text(text: Any, place: str) -> str:
    """Return a text that a file and a path can hold."""
    if not isinstance(text, str):
        raise InputError(f"{place} must be a text, got {text!r}")
    if "\0" in text or (not text.isascii() and any("\ud800" <= mark <= "\udfff" for mark in text)):
        raise InputError(f"{place} must be a text without null characters and halves of others, got {text!r}")
    return text


def _plain_value(value: Any, place: str) -> Any:
    """Return what stands in a table as TOML has it: without the scalar types of NumPy."""
    if isinstance(value, str):
        return _checked_text(value, place)
    if isinstance(value, Mapping):
        return {_checked_text(key, f"a key of {place}"): _plain_value(item, place) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(item, place) for item in value]
    return _without_numpy(value)


def _without_numpy(value: Any) -> Any:
    scalar = isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim)
    return value.item() if scalar else value


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return math.inf if value > 0 else -math.inf


@lru_cache(maxsize=1_024)
def _anatomy(hint: Any) -> tuple[Any, Range | None, Any, tuple[Any, ...]]:
    """Return what a check reads of a type: itself and its range, as `_parts`, its origin and its arguments."""
    plain, range_ = _parts(hint)
    return plain, range_, get_origin(plain), get_args(plain)


def _parts(hint: Any) -> tuple[Any, Range | None]:
    """Return a type without its annotations, and the `Range` among these."""
    if get_origin(hint) is not Annotated:
        return hint, None
    plain, *notes = get_args(hint)
    return plain, next((note for note in notes if isinstance(note, Range)), None)


def range_of(hint: Any) -> Range | None:
    """Return the range of a number, None where the type has none or is no number."""
    plain, range_ = _parts(hint)
    options = get_args(plain) if get_origin(plain) in (Union, UnionType) else ()
    return range_of(options[0]) if options else range_


def suggestion(word: object, known: Iterable[object]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known one, in upper or lower case."""
    return nearest(word, map(str, known), most=0, cutoff=0.6)
