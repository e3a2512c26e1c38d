"""The blocks of code in a page of Markdown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|\.\.\.|Qwen|me/|my_shop|mine\b")


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks in a language; "" for those without one."""
    return [text for found, text in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def shell_lines(page: Path) -> list[list[str]]:
    """Return the words of every line of the blocks without a language or of "sh", comments left out."""
    text = "\n".join([*blocks(page, ""), *blocks(page, "sh")])
    lines = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a sentence of a table or of a log
            continue
        lines += [words] if words else []
    return lines


def commands(page: Path, program: str = "turngym") -> list[list[str]]:
    """Return the words after the program of every line that calls it."""
    return [words[1:] for words in shell_lines(page) if words[0] == program]


def is_concrete(words: list[str]) -> bool:
    """Return whether a command can be run as it stands, with nothing that stands for something of the reader's."""
    return not any(_PLACEHOLDER.search(word) for word in words)
