"""The members of a JSON file, one after another: the file may be larger than memory, and compressed or not."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

CHUNK_CHARS = 1 << 20
MAX_MEMBER_CHARS = 1 << 26
"""Longer members are refused: a quotation mark is missing, and the rest of the file would be read as one text."""
_BLANKS = re.compile(r"[ \t\n\r]*")
_CLOSING = {"[": "]", "{": "}"}
_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_CUT_TOKEN = 16
"""The most characters of a token other than a string, such as `-1.5e300`, that the next chunk may continue."""


class CatalogueFileError(ValueError):
    """A file is not one of the original's, or is damaged; the message says where and why."""


class JsonStream:
    """The members of a JSON list or object, one after another, from a text that need not fit into memory.

    Args:
        read: Gives the next characters of the text, at most so many, and none at its end.
        chunk_chars: How many characters to ask for, at least 1.
    """

    def __init__(self, read: Callable[[int], str], chunk_chars: int = CHUNK_CHARS) -> None:
        self._read = read
        self._chunk_chars = chunk_chars
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder()
        self.members = 0
        """How many members have been given."""

    def __iter__(self) -> Iterator[tuple[str | None, Any]]:
        """Give each value with its key, or with None in a list.

        Raises:
            CatalogueFileError: The text is not a JSON list or object; what precedes the mistake has been given.
        """
        closing = _CLOSING.get(opening := self._take())
        if closing is None:
            found = f"begins with {opening!r}" if opening else "is empty"
            raise CatalogueFileError(f"it must be a JSON list or object, but {found}")
        if self._peek() == closing:
            self._at += 1
        else:
            yield from self._members(closing)
        if self._peek():
            raise CatalogueFileError(
                f"there is text after its end: {self._peek()!r}; if each line is a value of its own (JSON lines), "
                "make them one list or object"
            )

    def _members(self, closing: str) -> Iterator[tuple[str | None, Any]]:
        separator = ","
        while separator == ",":
            key = self._key() if closing == "}" else None
            value = self._value()
            self.members += 1
            yield key, value
            separator = self._take()
        if not separator:
            raise CatalogueFileError(f"it is cut off after record {self.members}")
        if separator != closing:
            raise CatalogueFileError(f"after record {self.members} stands {separator!r} instead of ',' or {closing!r}")

    def _key(self) -> str:
        key = self._value()
        if not isinstance(key, str) or self._take() != ":":
            self._fail("it must begin with a name in quotes and a colon")
        return key

    def _value(self) -> Any:
        """Decode the next value; read further chunks until it is complete."""
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._may_be_cut(error):
                    self._fail(error.msg)
                if self._ended:
                    self._fail("the file is cut off there" if self._is_cut(error) else error.msg)
            except (RecursionError, ValueError) as error:  # nested too deeply, or a number of too many digits
                self._fail(str(error))
            else:
                if self._ended or end + _LONGEST_CUT_TOKEN <= len(self._buffer):  # else a number may go on
                    self._at = end
                    return value
            self._fill()

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos + _LONGEST_CUT_TOKEN > len(self._buffer)

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._buffer.rstrip())

    def _take(self) -> str:
        char = self._peek()
        self._at += len(char)
        return char

    def _peek(self) -> str:
        """Return the next character that is not blank, or nothing at the end, and move there."""
        while True:
            blanks = _BLANKS.match(self._buffer, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._buffer) or self._ended:
                return self._buffer[self._at : self._at + 1]
            self._fill()

    def _fill(self) -> None:
        """Read on; twice as much where a member is long, so that the time stays linear in its length."""
        rest = self._buffer[self._at :]
        if len(rest) > MAX_MEMBER_CHARS:
            self._fail(f"it is longer than {MAX_MEMBER_CHARS} characters, which looks like a missing quote")
        more = self._read(max(self._chunk_chars, len(rest)))
        self._ended = not more
        self._buffer, self._at = rest + more, 0

    def _fail(self, reason: str) -> NoReturn:
        raise CatalogueFileError(f"record {self.members + 1} is not JSON: {reason}")


def members(path: Path) -> Iterator[tuple[str | None, Any]]:
    """Give the members of a JSON file, with their keys or with None in a list; a compressed one will do.

    Raises:
        CatalogueFileError: The file cannot be read, or is not a JSON list or object.
    """
    stream = None
    try:
        with _open_text(path) as file:
            stream = JsonStream(file.read)
            yield from stream
    except CatalogueFileError as error:
        raise CatalogueFileError(f"{path}: {error}") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        place = f"after record {stream.members}: " if stream and stream.members else ""
        raise CatalogueFileError(f"{path} cannot be read: {place}{error}") from error


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    return (gzip.open if compressed else open)(path, "rt", encoding="utf-8-sig")
