"""What the command line tells in one sentence: what a user gave cannot be used, or the work on it failed."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from turngym.credentials import redacted


class InputError(ValueError):
    """Input that cannot be used; the command line prints the message and ends with exit code 2.

    Args:
        message: One sentence, of which the secrets of addresses are left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


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


FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "the file is larger than this process may write"}  # fmt: skip
"""What ends work for want of room."""
OF_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS, sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES, sqlite3.SQLITE_BUSY: errno.EBUSY,
}  # fmt: skip
"""What SQLite's codes mean; the extended ones, of which it has more, end in the same byte."""


def file_error(error: Exception) -> InputError | WorkError | None:
    """Return in a sentence what files, the disk or a database refused; None for an error about something else.

    A full or failing disk is nobody's input: it is a `WorkError`. So is everything that names no file.
    """
    if isinstance(error, BrokenPipeError):  # the reader of our output has left, which is no trouble of ours
        return None
    if isinstance(error, OSError):
        number, name, reason = error.errno, error.filename, error.strerror or str(error)
    elif isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)  # none where it is the calling code that is wrong
        number, name = OF_SQLITE.get(code & 0xFF) if code is not None else None, "a value store"
        reason = str(error)
    else:  # the libraries that write weights and tokenizers only tell the number
        told = re.search(r"\(os error (\d+)\)", str(error))
        number, name = int(told[1]) if told else None, None
        reason = os.strerror(number) if number else ""
    if number is None and not isinstance(error, OSError):
        return None
    place = "" if name is None else f"{os.fsdecode(name) if isinstance(name, str | bytes) else name}: "
    if number in FULL:
        return WorkError(f"{place}{FULL[number]}; make room and try again")
    if number == errno.EIO or not place:
        return WorkError(f"{place}{reason}")
    return InputError(f"{place}{reason}")
