"""What goes wrong between a user and the command line, in one sentence that says what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """Input that cannot be used; the message is one sentence and is all that the user sees."""

    exit_code = 2


class Failure(UsageError):
    """The input was fine and the work failed, in a way that the message explains."""

    exit_code = 1


def nearest(word: str, choices: Iterable[str], *, most: int = 12) -> str:
    """Return the end of a sentence about an unknown word: the likeliest choice, or the choices when there are few.

    Args:
        word: What the user wrote.
        choices: What could have been meant.
        most: Up to this many choices are all named when none is close.
    """
    spellings = {choice.lower(): choice for choice in choices}
    close = get_close_matches(word.lower(), spellings, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {spellings[close[0]]!r}?"
    if 0 < len(spellings) <= most:
        return f"; choose from {', '.join(spellings.values())}"
    return ""
