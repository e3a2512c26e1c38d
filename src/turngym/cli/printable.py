"""Foreign text on a terminal: nothing in it can steer the terminal, and no encoding stops it."""

from __future__ import annotations

import io
import sys
import unicodedata

from turngym.credentials import redacted

_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of what a terminal may obey: controls, formats such as those that reverse the direction of a line,
halves of characters, and separators of lines."""


def printable(text: str) -> str:
    """Return text that cannot steer the terminal: what it might obey is spelled out in hexadecimal digits.

    Models, environments, files and names of folders hold anything, escape sequences included.
    """
    return "".join(character if _harmless(character) else f"\\u{{{ord(character):x}}}" for character in text)


def _harmless(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) not in _STEERING


def tell(message: object) -> None:
    """Print a message on standard error, without what could steer the terminal and without secrets of addresses."""
    print(printable(redacted(f"turngym: {message}")), file=sys.stderr)


def accept_any_text() -> None:
    """Let standard output and error spell out what their encoding lacks, as of ASCII, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
