"""What every section of a configuration has in common: its settings are checked as soon as it is made.

A setting says what it may be with its type, so that Python, TOML and the command line are checked alike:

    samples: Count = 4                              a whole number of at least 1
    fresh_share: Share = 0.75                       a number in [0, 1]
    on_alarm: Literal["warn", "stop"] = "warn"      one of these words
    max_tokens: Count | None = None                 the same, or None for "off"
"""

from __future__ import annotations

import ast
import difflib
import inspect
import math
import numbers
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from turngym._errors import InputError


@dataclass(frozen=True, kw_only=True)
class Range:
    """Between what a number must lie."""

    low: float = -math.inf
    """The least it may be."""
    high: float = math.inf
    """The most it may be."""
    above: bool = False
    """Whether it must be above `low`."""
    infinite: bool = False
    """Whether it may be infinite."""

    def __str__(self) -> str:
        """Say it in words: "at least 1", "above 0", "in [0, 1]"."""
        if self.high < math.inf:
            return f"in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"
        return f"{'above' if self.above else 'at least'} {self.low:g}"

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range; nan never does."""
        enough = value > self.low if self.above else value >= self.low
        return enough and value <= self.high and (self.infinite or abs(value) != math.inf)


Count = Annotated[int, Range(low=1)]
"""How many of something that nothing works without."""
Index = Annotated[int, Range(low=0)]
"""A number that counts from 0."""
Share = Annotated[float, Range(low=0, high=1)]
"""A part of a whole."""
PositiveShare = Annotated[float, Range(low=0, high=1, above=True)]
"""A part of a whole that cannot be nothing."""
Positive = Annotated[float, Range(low=0, above=True)]
"""What is divided by, or moves geometrically."""
NonNegative = Annotated[float, Range(low=0)]
"""An amount."""
Temperature = Annotated[float, Range(low=0, infinite=True)]
"""A temperature of V*: 0 means the largest return, infinity the mean."""

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
Kept = TypeVar("Kept", bound="Section")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of a configuration.

    A subclass is a frozen dataclass with a docstring under each field. Values are checked against the types of the
    fields, and together by `check`, when it is made; `dataclasses.replace` makes anew and so checks again.

    Raises:
        ValueError: A value is of the wrong type or out of range; the message names the setting as "section.name".
    """

    section: ClassVar[str] = ""
    """Its name in a configuration."""

    def __post_init__(self) -> None:
        """Check every value, and bring whole numbers that stand for numbers, and lists, into their form."""
        hints = setting_types(type(self))
        for field in fields(self):
            value = checked(getattr(self, field.name), hints[field.name], f"{self.section}.{field.name}")
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self) -> None:
        """Check what single values cannot tell.

        Raises:
            ValueError: Values do not go together.
        """

    def refuse(self, name: str, reason: str) -> InputError:
        """Return the error about a setting of this section."""
        return InputError(f"{self.section}.{name} {reason}, got {getattr(self, name)!r}")


def setting_types(kind: Any) -> Mapping[str, Any]:
    """Return the type of every setting of a section, with what it may be."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def setting_docs(kind: Any) -> Mapping[str, str]:
    """Return the docstring under every setting of a section, those of its bases included."""
    docs: dict[str, str] = {}
    for base in reversed([base for base in kind.__mro__ if base not in (object, Section) and base.__module__]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):  # made on the spot, without a source
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = inspect.cleandoc(doc)
    return docs


def checked(value: Any, hint: Any, place: str) -> Any:
    """Return a value in the form of its type.

    Args:
        value: What was given.
        hint: The type of the setting, `Annotated` with a `Range` or not.
        place: How to call the setting, such as "values.samples".

    Raises:
        ValueError: It is of another type, or out of range.
    """
    plain, range_ = _parts(hint)
    origin = get_origin(plain)
    if origin in (Union, UnionType):
        options = [option for option in get_args(plain) if option is not NoneType]
        return None if value is None and NoneType in get_args(plain) else checked(value, options[0], place)
    if origin is Literal:
        if value not in get_args(plain):
            raise InputError(f"{place} must be one of {', '.join(map(repr, get_args(plain)))}, got {value!r}"
                             f"{suggestion(value, get_args(plain))}")  # fmt: skip
        return value
    if origin is list:
        if not isinstance(value, list | tuple):
            raise InputError(f"{place} must be a list, got {value!r}")
        return [checked(item, get_args(plain)[0], place) for item in value]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{place} must be a table, got {value!r}")
        return dict(value)
    return _checked_plain(value, plain, range_, place)


def _checked_plain(value: Any, plain: Any, range_: Range | None, place: str) -> Any:
    if plain is int and type(value) is not bool and isinstance(value, numbers.Integral):
        value = int(value)
    elif plain is float and type(value) is not bool and isinstance(value, numbers.Real):
        value = _as_float(value)
    elif type(value) is not plain:
        raise InputError(f"{place} must be {_WORDS.get(plain, plain)}, got {value!r}")
    if range_ is not None and not range_.holds(value):
        finite = " and finite" if value == math.inf == range_.high else ""
        raise InputError(f"{place} must be {range_}{finite}, got {value!r}")
    return value


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return math.inf if value > 0 else -math.inf


def _parts(hint: Any) -> tuple[Any, Range | None]:
    """Return a type without its notes, and the range among these."""
    if get_origin(hint) is not Annotated:
        return hint, None
    plain, *notes = get_args(hint)
    return plain, next((note for note in notes if isinstance(note, Range)), None)


def suggestion(word: object, known: Iterable[object]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known one, in upper or lower case."""
    names = {str(name).lower(): str(name) for name in known}
    near = difflib.get_close_matches(str(word).lower(), names, n=1)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def choices(hint: Any) -> tuple[Any, ...]:
    """Return the words of a `Literal`, none for any other type."""
    return get_args(hint) if get_origin(hint) is Literal else ()
