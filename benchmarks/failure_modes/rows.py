"""The result files of the experiments, one line per measurement."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from turngym.benchmarks.page import csv_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RowT = TypeVar("RowT", bound="DataclassInstance")
KeyT = TypeVar("KeyT")


def read_rows(path: Path, kind: type[RowT]) -> list[RowT]:
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


def append_rows(path: Path, rows: Sequence[DataclassInstance]) -> None:
    """Add rows to a result file, with a header where it is new; fractions are rounded to six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = csv_text([part.name for part in fields(rows[0])], map(asdict, rows))
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.split("\n", 1)[1] if file.tell() else text)


def measured(
    path: Path,
    kind: type[RowT],
    wanted: Iterable[KeyT],
    measure: Callable[[KeyT], list[RowT]],
    key: Callable[[RowT], KeyT],
) -> list[RowT]:
    """Measure what a result file does not hold, append it as it comes, and return all of the file that was asked for.

    Args:
        path: The file.
        kind: The dataclass of its rows.
        wanted: What is asked for.
        measure: Returns the rows of one of them.
        key: What a row is known by.
    """
    wanted = list(wanted)
    known = {key(row) for row in read_rows(path, kind)}
    for one in wanted:
        if one not in known:
            append_rows(path, measure(one))
    return [row for row in read_rows(path, kind) if key(row) in {*wanted}]
