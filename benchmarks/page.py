"""Results as Markdown, CSV and pictures: tables, rows and pages that are kept in files, and figures to draw on."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from turngym._durable import replacement

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from matplotlib.figure import Figure

RowType = TypeVar("RowType", bound="DataclassInstance")


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


def read_rows(path: Path, kind: type[RowType]) -> list[RowType]:
    """Return the rows of a result file; none where it does not exist.

    Args:
        path: The file.
        kind: A dataclass whose fields are texts, whole numbers and fractions.
    """
    if not path.exists():
        return []
    casts: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
    with path.open(encoding="utf-8", newline="") as file:
        return [kind(**{part.name: casts[str(part.type)](line[part.name]) for part in fields(kind)})
                for line in csv.DictReader(file)]  # fmt: skip


def append_rows(path: Path, rows: Iterable[DataclassInstance], kind: type[DataclassInstance]) -> None:
    """Add rows to a result file of one kind, with a header where it is new, fractions to six digits.

    Args:
        path: The file.
        rows: The rows; what one of a base class of the kind lacks is empty.
        kind: The dataclass of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = csv_text([part.name for part in fields(kind)], map(asdict, rows))
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.split("\n", 1)[1] if file.tell() else text)


def empty_figure(width: float, height: float, dpi: float | None = None) -> Figure:
    """Return a figure to draw on and save, without a window.

    Args:
        width: In inches.
        height: The same.
        dpi: Dots per inch; None for those of matplotlib.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def kept(page: str, out: Path | None) -> str:
    """Return the page, and write it to a file if one is named."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    return page
