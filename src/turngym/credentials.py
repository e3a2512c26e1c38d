"""Secrets in addresses: taken out where arguments come in, kept by the process, put back where a connection is made.

Arguments of environments are written into configurations, episodes, value stores, reports and messages, and an address
such as `http://user:password@host` or `https://host/?token=...` would take its secret along. `without_credentials`
gives the address to write, and `with_credentials` the one to connect to. What was taken out is in the environment of
the process, so that processes which it starts have it too; no command line and no file ever does.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

VARIABLE = "TURNGYM_CREDENTIALS"
"""The environment variable with the addresses that have a secret: a JSON object from each as it is written to the whole
one. A resumed run, which reads its addresses from files, may be given their secrets by it."""
HIDDEN = "***"
"""What stands for a secret in the query of an address, and in messages."""
SHORTEST = 4
"""Characters of the shortest secret that is looked for in messages; shorter ones are in every text."""

# Up to the last @ before the path; or, where a password holds a slash, up to the last @ of all. A port is no password.
_USERINFO = re.compile(r"(?<=://)(?:[^\s/?#]*@|[^\s/?#:@\[]*:(?!\d+(?:[/?#]|$))\S*@)")
# The name of a secret, after a separator or one of some words; the marks of names may be percent-encoded.
_QUERY = re.compile(
    r"([?&;#](?:[\w.%\[-]*(?:[_.\[-]|%5f|%5b|%2d|%2e))?"
    r"(?:api|access|auth|refresh|id|client|session|operator|secret|master|private|shared)?_?"
    r"(?:key|token|secret|pass(?:word|wd|phrase)?|pwd|pat|auth|bearer|jwt|credentials?|sig|signature)(?:\]|%5d)?=)"
    r"([^\s&;#'\"]+)",
    re.IGNORECASE,
)


def without_credentials(value: Any) -> Any:
    """Return a value without the secrets of the addresses in it, and keep these for `with_credentials`.

    Args:
        value: A text, or mappings and lists of them; everything else is returned as it is.
    """

    def taken_out(text: str) -> str:
        clean = _cleaned(text)
        if clean != text and _kept().get(clean) != text:
            os.environ[VARIABLE] = json.dumps({**_kept(), clean: text})
        return clean

    return _mapped(value, taken_out)


def with_credentials(value: Any) -> Any:
    """Return a value with the secrets that were last taken out of each of its texts."""
    kept = _kept()
    return _mapped(value, lambda text: kept.get(text, text)) if kept else value


def password_of(address: str) -> str:
    """Return the password of an address, decoded; empty without one."""
    userinfo = _USERINFO.search(address)
    return unquote(userinfo.group()[:-1].partition(":")[2]) if userinfo else ""


def redacted(text: str) -> str:
    """Return a text of any kind, such as a message, without the secrets of addresses, wherever they stand in it."""
    clean = _cleaned(text)
    with suppress(ValueError):  # of a variable that cannot be read, which the message may be about
        for secret in sorted(set(_secrets()), key=len, reverse=True):
            clean = clean.replace(secret, HIDDEN)
    return clean


def _cleaned(text: str) -> str:
    return _QUERY.sub(rf"\1{HIDDEN}", _USERINFO.sub("", text)) if "://" in text else text


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _mapped(item, change) for name, item in value.items()}
    return type(value)(_mapped(item, change) for item in value) if type(value) in (list, tuple) else value


def _kept() -> dict[str, str]:
    """Return the whole address for each that had a secret."""
    try:
        kept = json.loads(os.environ.get(VARIABLE) or "{}")
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or not all(isinstance(whole, str) for whole in kept.values()):
        raise ValueError(f"the environment variable {VARIABLE} must be a JSON object from addresses without their "
                         "secret to the whole addresses")  # fmt: skip
    return kept


def _secrets() -> Iterator[str]:
    """Yield what must stand in no message, as it is written in addresses and decoded."""
    for whole in _kept().values():
        found = [one.group()[:-1] for one in _USERINFO.finditer(whole)]
        parts = [password or user for user, _, password in (one.partition(":") for one in found)]
        for part in (*parts, *(one.group(2) for one in _QUERY.finditer(whole))):
            yield from (secret for secret in (part, unquote(part)) if len(secret) >= SHORTEST)
