"""Results as Markdown and CSV: tables, and pages that are kept in files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from turngym._durable import replacement


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows))


MARK = "<!-- {} -->\n"
"""What stands above a table that a command makes, so that `turngym bench check` finds it."""


def mark(command: str) -> str:
    """Return the mark of a table that a command makes; in what is shown of a page it cannot be seen."""
    return MARK.format(command.replace("-->", "-- >"))


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts to files of a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with replacement(folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV, fractions to six digits; what is unknown is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()})
    return out.getvalue()


def kept(page: str, out: Path | None) -> str:
    """Return the page, and write it to a file if one is named."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    return page
