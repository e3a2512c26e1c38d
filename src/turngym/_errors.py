"""What the command line tells in one sentence: what a user gave cannot be used, or the work on it failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Input that cannot be used; the command line prints the message and ends with exit code 2."""


@contextmanager
def input_errors() -> Iterator[None]:
    """Raise a ValueError from within as an `InputError` with the same message, and a file that cannot be read too."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


class InputWarning(UserWarning):
    """What a user should know of input that is used all the same; the command line prints it as a sentence."""


class WorkError(RuntimeError):
    """Work that failed for a reason that the message explains; the command line prints it and ends with exit code 1."""
