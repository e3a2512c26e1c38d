"""The tables of a page that a command makes: each stands under a mark, a comment that nobody sees who reads the page.

The first line of a mark is the command. A further line says what stands in a column whose head is not the name of an
agent, as `HEAD: AGENT`:

    <!-- turngym bench games --scripted random
    before A*PO: base, sampled -->
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from turngym._errors import InputError, input_errors

MARK = re.compile(r"^<!--\s*turngym bench (.*?)-->", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_BAR = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A row below the heads."""

    line: int
    """Its line in the page, from 1."""
    cells: tuple[str, ...]
    """As they are written, without the blanks around them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedTable:
    """A table under a mark."""

    path: Path
    line: int
    """The line of the mark in the page, from 1."""
    words: tuple[str, ...]
    """Those of the command behind `turngym bench`."""
    agents: Mapping[str, str]
    """From the head of a column to the agent whose success stands in it, where the mark says so."""
    heads: tuple[str, ...]
    """The heads of the columns, as `plain` has them."""
    rows: Sequence[TableRow]

    @property
    def command(self) -> str:
        """The command."""
        return shlex.join(["turngym", "bench", *self.words])


def plain(text: str) -> str:
    """Return a text of Markdown as it is read: without the marks of code, and with nothing escaped."""
    return re.sub(r"\\(.)", r"\1", text.replace("`", "")).strip()


def marked_tables(path: Path) -> Iterator[MarkedTable]:
    """Yield the tables of a page that stand under a mark; what stands in a block of code is none.

    Raises:
        InputError: The page cannot be read, or no table follows a mark.
    """
    with input_errors():
        text = path.read_text(encoding="utf-8")
    shown = _FENCED.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
    for mark in MARK.finditer(shown):
        line = shown.count("\n", 0, mark.start()) + 1
        command, *described = mark[1].splitlines()
        after = shown.count("\n", 0, mark.end()) + 1  # the line in which the mark ends
        lines = list(enumerate(shown.splitlines()[after:], start=after + 1))
        while lines and not lines[0][1].strip():
            lines.pop(0)
        rows = []
        for number, written in lines:
            if not written.startswith("|"):
                break
            rows.append(TableRow(line=number, cells=_cells(written)))
        if len(rows) < 2 or not all(re.fullmatch(r":?-+:?", cell) for cell in rows[1].cells):
            raise InputError(f"{path}:{line}: no table follows the mark")
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise InputError(f"{path}:{line}: the command of the mark cannot be read: {error}") from error
        agents = dict(part.partition(": ")[::2] for part in described if part.strip())
        yield MarkedTable(
            path=path, line=line, words=words, heads=tuple(map(plain, rows[0].cells)), rows=rows[2:],
            agents={plain(head): agent.strip() for head, agent in agents.items()},
        )  # fmt: skip


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in _BAR.split(line.strip())[1:-1])
