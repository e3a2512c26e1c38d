"""Instances that are written as text: whoever proposes one, a person or a model, gets its index, or the reason why not.

An instance is a pure function of split and index. Drawn ones have small indices, which seed a generator. From
`WRITTEN_INSTANCES` on an index is a number of the instance's content itself:

    2**62 + code,    0 <= code < 2**62

so an instance that was written goes wherever an index goes (into episodes, value stores and checkpoints), two texts of
the same content have the same index, and it is played again from that alone. The split is that of the content
(`split_of`), as for drawn instances.
"""

from __future__ import annotations

from turngym._errors import InputError
from turngym.envs.splits import Split, split_of

WRITTEN_INSTANCES = 2**62
"""The first index of instances that are numbered by their content; the last one is 2**63 - 1."""
MAX_CODES = 2**62
"""How many contents can be numbered. Indices beyond the last of them are drawn again."""

Written = tuple[Split, int]
"""Where a written instance lies: its split and its index."""


class InvalidInstance(InputError):
    """A text that is no instance of the environment; the message says why, in words that its writer can use."""


class UnsolvableInstance(InvalidInstance):
    """A text that is an instance, which nobody can solve."""


def index_of(code: int) -> int:
    """Return the index of the content with a number in `[0, MAX_CODES)`."""
    return WRITTEN_INSTANCES + code


def code_of(index: int, codes: int) -> int | None:
    """Return the number of the content that an index stands for; None for an instance that is drawn.

    Args:
        index: The index.
        codes: How many contents the family has.

    Raises:
        InputError: The family has no content of that number.
    """
    if not WRITTEN_INSTANCES <= index < WRITTEN_INSTANCES + MAX_CODES:
        return None
    check_codes(codes)
    if index - WRITTEN_INSTANCES >= codes:
        raise InputError(f"there is no instance {index}: of those that are numbered by their content, the last one is "
                         f"{WRITTEN_INSTANCES + codes - 1}")  # fmt: skip
    return index - WRITTEN_INSTANCES


def check_codes(codes: int) -> None:
    """Check that the contents of a family can be numbered.

    Raises:
        InputError: There are too many.
    """
    if codes > MAX_CODES:
        raise InputError(f"instances of this family cannot be written: it has {float(codes):.2g} of them, and at most "
                         f"{float(MAX_CODES):.2g} can be numbered by their content; narrow its ranges")  # fmt: skip


def check_placed(split: Split, content: str, own: Split | None = None) -> None:
    """Check that the content that an index stands for belongs to the split that it is asked of.

    Args:
        split: The split.
        content: The canonical description of the content, as of `split_of`.
        own: Its split, where that is not drawn by its content but known.

    Raises:
        InputError: It belongs to another.
    """
    own = own or split_of(content)
    if own != split:
        raise InputError(f"the instance {content!r} belongs to the split {own!r}, not to {split!r}")
