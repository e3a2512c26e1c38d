"""Names that people write: what an unknown one may have meant, and how a registry takes a new one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from difflib import get_close_matches
from inspect import signature
from typing import TypeVar

Entry = TypeVar("Entry")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Names stand on the command line, in TOML and in the names of folders."""


def nearest(word: object, choices: Iterable[str], *, most: int = 12, cutoff: float = 0.5) -> str:
    """Return the end of a sentence about an unknown word: the likeliest choice, or the choices when there are few.

    Args:
        word: What the user wrote.
        choices: What could have been meant.
        most: Up to this many choices are all named when none is close.
        cutoff: How close a choice must be, in [0, 1], as `difflib.get_close_matches` counts it.
    """
    spellings = {choice.lower(): choice for choice in choices}
    close = get_close_matches(str(word).lower(), spellings, n=1, cutoff=cutoff)
    if close:
        return f"; did you mean {spellings[close[0]]!r}?"
    if 0 < len(spellings) <= most:
        return f"; choose from {', '.join(spellings.values())}"
    return ""


def check_name(kind: str, name: object) -> str:
    """Return a name that a registry can take.

    Args:
        kind: What it is the name of, for the message, such as "agent".
        name: The name.

    Raises:
        ValueError: It is something else than ASCII letters, digits, "-" and "_", or begins with one of these marks.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"the name of {article(kind)} is made of letters, digits, '-' and '_', such as 'my-{kind}'; "
                         f"got {name!r}")  # fmt: skip
    return name


def enter(registry: MutableMapping[str, Entry], kind: str, name: str, entry: Entry) -> None:
    """Put an entry into a registry; the same one may come again, as when its module is reloaded.

    Raises:
        ValueError: The name cannot be used, or belongs to something else.
    """
    check_name(kind, name)
    known = registry.get(name, entry)
    origin = _origin(known)
    if known != entry and (origin is None or origin != _origin(entry)):
        raise ValueError(f"there is {article(kind)} {name!r} already{f', {origin}' if origin else ''}; register yours "
                         "under another name")  # fmt: skip
    registry[name] = entry


def find(registry: Mapping[str, Entry], kind: str, name: str) -> Entry:
    """Return the entry of a registry.

    Raises:
        ValueError: There is none of this name; the message names the nearest.
    """
    if name not in registry:
        raise ValueError(f"there is no {kind} {name!r}{nearest(name, registry)}")
    return registry[name]


def accepts(entry: object, *arguments: object) -> bool:
    """Return whether something can be called with these positional arguments."""
    try:
        signature(entry).bind(*arguments)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # it cannot be called at all, or not so
        return False
    return True


def article(kind: str) -> str:
    """Return a word with its indefinite article."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _origin(entry: object) -> str | None:
    """Return where a class or function was written, which survives a reload; None where that cannot be told."""
    module, name = getattr(entry, "__module__", None), getattr(entry, "__qualname__", None)
    return None if not module or not name or "<lambda>" in name else f"{module}.{name}"
