"""Whether a container is healthy: one that serves the shop is while the shop answers, any other one while it runs.

    python healthcheck.py [FILE]

FILE holds the words of the program, as /proc has them; those of the container's first process by default. The exit code
is 0 or 1, which is what container engines read.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

SECONDS = 3.0
"""Longest wait for the answer."""
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where a shop may listen; asked is this machine


def shop_address(words: Sequence[str]) -> str:
    """Return the health address of the shop that a command line opens, nothing if it opens none."""
    if "webshop" not in words or "serve" not in words[words.index("webshop") :]:
        return ""
    host, port = _option(words, "--host", "127.0.0.1"), _option(words, "--port", "3000")
    return f"http://{ANYWHERE.get(host, f'[{host}]' if ':' in host else host)}:{port}/health"


def _option(words: Sequence[str], flag: str, value: str) -> str:
    for number, word in enumerate(words):
        if word == flag and number + 1 < len(words):
            value = words[number + 1]
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value


def healthy(words: Sequence[str]) -> bool:
    """Whether the shop that a command line opens answers; True if it opens none."""
    address = shop_address(words)
    if not address:
        return True
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - an http address of this machine
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "/proc/1/cmdline")
    raise SystemExit(not healthy(place.read_bytes().decode(errors="replace").rstrip("\0").split("\0")))
