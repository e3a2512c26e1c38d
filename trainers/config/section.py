"""The base of every section of a configuration: its settings are checked when it is made.

The type of a setting says which values it takes, so that Python, TOML and the command line are checked alike:

    samples: Count = 4                              a whole number of at least 1
    fresh_share: Share = 0.75                       a number in [0, 1]
    on_alarm: Literal["warn", "stop"] = "warn"      one of these words
    max_tokens: Count | None = None                 the same, or None for "off"
"""

from __future__ import annotations

import ast
import inspect
import math
import numbers
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from turngym._errors import InputError
from turngym.names import nearest


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
        """Return the range in words: "at least 1", "above 0", "in [0, 1]"."""
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
"""A whole number from 0 on."""
Seed = Annotated[int, Range(low=0, high=2**63 - 1)]
"""The seed of a run."""
Share = Annotated[float, Range(low=0, high=1)]
"""A number in [0, 1]."""
PositiveShare = Annotated[float, Range(low=0, high=1, above=True)]
"""A number in (0, 1]."""
Positive = Annotated[float, Range(low=0, above=True)]
"""A finite number above 0."""
NonNegative = Annotated[float, Range(low=0)]
"""A finite number from 0 on."""
Temperature = Annotated[float, Range(low=0, infinite=True)]
"""A temperature of V*, from 0 on: at 0, V* is the largest return, at infinity the mean."""

SMALLEST, LARGEST = 1e-12, 1e12
"""Between what every number other than 0 must lie in size: models count in single precision, beyond whose range such
a number or its square would end as 0 or infinity, and the run with it."""
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of a configuration.

    A subclass is a frozen dataclass with a docstring under each field. Values are checked against the types of the
    fields, and together by `check`, when it is made; `dataclasses.replace` makes anew and so checks again.

    Raises:
        ValueError: A value is of the wrong type or out of range; the message names the setting as "section.name".
    """

    section: ClassVar[str] = ""
    """The name of the section in a configuration."""

    def __post_init__(self) -> None:
        """Check every value; whole numbers given for numbers become floats, and tuples lists."""
        hints = setting_types(type(self))
        for field in fields(self):
            value = checked(getattr(self, field.name), hints[field.name], f"{self.section}.{field.name}")
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self) -> None:
        """Check the values of several settings against each other.

        Raises:
            ValueError: Values do not go together.
        """

    def refuse(self, name: str, reason: str) -> InputError:
        """Return the error about a setting of this section."""
        return InputError(f"{self.section}.{name} {reason}, got {getattr(self, name)!r}")


def setting_types(kind: Any) -> Mapping[str, Any]:
    """Return the type of every setting of a section, `Annotated` with its `Range` where it has one."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def setting_docs(kind: Any) -> Mapping[str, str]:
    """Return the docstring under every setting of a section, those of its bases included."""
    docs: dict[str, str] = {}
    for base in reversed([base for base in kind.__mro__ if base not in (object, Section) and base.__module__]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):  # a class without a source file, as `make_dataclass` returns
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = inspect.cleandoc(doc)
    return docs


def checked(value: Any, hint: Any, place: str) -> Any:
    """Return a value converted to the type of its setting.

    Args:
        value: The value as the user gave it.
        hint: The type of the setting, `Annotated` with a `Range` or not.
        place: The name of the setting in messages, such as "values.samples".

    Raises:
        ValueError: It is of another type, or out of range.
    """
    plain, range_ = _parts(hint)
    origin = get_origin(plain)
    if origin in (Union, UnionType):
        options = [option for option in get_args(plain) if option is not NoneType]
        return None if value is None and NoneType in get_args(plain) else checked(value, options[0], place)
    if origin is Literal:
        if type(value) not in map(type, get_args(plain)) or value not in get_args(plain):
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
        return {_checked_text(key, f"a key of {place}"): _plain_value(item, place) for key, item in value.items()}
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
    if plain is float and value and not SMALLEST <= abs(value) <= LARGEST and abs(value) != math.inf:
        zero = "" if range_ is not None and range_.above else "0 or "
        raise InputError(f"{place} must be {zero}between {SMALLEST:g} and {LARGEST:g} in size, got {value!r}")
    return _checked_text(value, place) if plain is str else value


def _checked_text(text: Any, place: str) -> str:
    """Return a text that a file and a path can hold."""
    if not isinstance(text, str):
        raise InputError(f"{place} must be a text, got {text!r}")
    if "\0" in text or any("\ud800" <= mark <= "\udfff" for mark in text):
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
    return value.item() if isinstance(value, np.generic) else value


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return math.inf if value > 0 else -math.inf


def _parts(hint: Any) -> tuple[Any, Range | None]:
    """Return a type without its annotations, and the `Range` among these."""
    if get_origin(hint) is not Annotated:
        return hint, None
    plain, *notes = get_args(hint)
    return plain, next((note for note in notes if isinstance(note, Range)), None)


def suggestion(word: object, known: Iterable[object]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known one, in upper or lower case."""
    return nearest(word, map(str, known), most=0, cutoff=0.6)


def choices(hint: Any) -> tuple[Any, ...]:
    """Return the words of a `Literal`, none for any other type."""
    return get_args(hint) if get_origin(hint) is Literal else ()
