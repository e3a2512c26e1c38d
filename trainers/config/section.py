"""The base of every section of a configuration: its settings are checked when it is made.

The type of a setting says which values it takes, as `turngym.arguments` reads it.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from turngym._errors import InputError
from turngym.arguments import Range, checked, range_of

Seed = Annotated[int, Range(low=0, high=2**63 - 1)]
"""The seed of a run."""
Temperature = Annotated[float, Range(low=0, infinite=True)]
"""A temperature of V*, from 0 on: at 0, V* is the largest return, at infinity the mean."""

SMALLEST, LARGEST = 1e-12, 1e12
"""Between what every number other than 0 must lie in size: models count in single precision, beyond whose range such
a number or its square would end as 0 or infinity, and the run with it."""


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
            value = checked_setting(getattr(self, field.name), hints[field.name], f"{self.section}.{field.name}")
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
    return _setting_types(kind)


@cache
def _setting_types(kind: Any) -> Mapping[str, Any]:
    """Look the types up once, which takes longer than all checks of a section."""
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


def checked_setting(value: Any, hint: Any, place: str) -> Any:
    """Return what `turngym.arguments.checked` returns, if it is no number that models cannot count with.

    Raises:
        InputError: The value is of another type, or out of range.
    """
    value = checked(value, hint, place)
    if isinstance(value, float) and value and not SMALLEST <= abs(value) <= LARGEST and abs(value) != math.inf:
        range_ = range_of(hint)
        zero = "" if range_ is not None and range_.above else "0 or "
        raise InputError(f"{place} must be {zero}between {SMALLEST:g} and {LARGEST:g} in size, got {value!r}")
    return value


def choices(hint: Any) -> tuple[Any, ...]:
    """Return the words of a `Literal`, none for any other type."""
    return get_args(hint) if get_origin(hint) is Literal else ()
