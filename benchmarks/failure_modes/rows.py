"""Measurements that are kept in a result file, and not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from turngym.benchmarks.page import RowType, append_rows, read_rows

KeyT = TypeVar("KeyT")


def measured(
    path: Path,
    kind: type[RowType],
    wanted: Iterable[KeyT],
    measure: Callable[[KeyT], list[RowType]],
    key: Callable[[RowType], KeyT],
) -> list[RowType]:
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
            append_rows(path, measure(one), kind)
    return [row for row in read_rows(path, kind) if key(row) in {*wanted}]
