"""A check of the original's files: every record that is missing, malformed or duplicated, told with its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from turngym.webshop_server.catalogue.asin_table import AsinTable
from turngym.webshop_server.catalogue.files import OWN, Kind, Problem, ProblemKind, kind_of
from turngym.webshop_server.catalogue.json_stream import CatalogueFileError, members
from turngym.webshop_server.catalogue.plain import plain_records, rows_of
from turngym.webshop_server.catalogue.records import (
    MAX_ASIN_CHARS,
    Record,
    RecordError,
    asin_or_nothing,
    build_product,
    is_left_out,
    read_annotation,
    read_wishes,
)
from turngym.webshop_server.catalogue.sidecar import verify_sidecar

FATAL: frozenset[ProblemKind] = frozenset({"unreadable", "missing", "malformed"})
"""Problems that make a file unusable; with the others the original reads it too, and so does this shop."""
LISTED_PROBLEMS = 100
"""How many problems of a file a report lists; it counts them all."""
_REQUIRED = ("asin", "name", "full_description", "small_description", "category", "query", "product_category")


@dataclass(slots=True)
class FileReport:
    """What a check found in one file."""

    path: Path
    kind: Kind | None = None
    """What the file holds; None if that cannot be told."""
    counts: Counter[str] = field(default_factory=Counter)
    """Numbers of records by what they have, such as `{"records": 1000, "with options": 620}`."""
    problem_counts: Counter[ProblemKind] = field(default_factory=Counter)
    """All problems by kind."""
    problems: list[Problem] = field(default_factory=list)
    """The first of them, at most `LISTED_PROBLEMS`."""

    @property
    def usable(self) -> bool:
        """Whether the file can be read for use as it is."""
        return FATAL.isdisjoint(self.problem_counts)

    def note(self, kind: ProblemKind, reason: str, asin: Any = "", record: int | None = None) -> None:
        """Add a problem, by default of the last record counted."""
        self.problem_counts[kind] += 1
        if len(self.problems) < LISTED_PROBLEMS:
            place = self.counts["records"] if record is None else record
            self.problems.append(Problem(self.path, place, asin if isinstance(asin, str) else "", kind, reason))


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found in the files of a catalogue."""

    files: tuple[FileReport, ...]
    """The reports in the order in which the files were named."""

    @property
    def usable(self) -> bool:
        """Whether all files can be read for use as they are."""
        return all(report.usable for report in self.files)


def check(paths: Iterable[Path]) -> CheckReport:
    """Check every record of files of any of the three kinds, and whether attributes and instructions belong to items.

    Whether attributes and instructions are of known products is only checked if a file of items is among them.
    """
    reports = tuple(FileReport(path) for path in paths)
    for report in reports:
        try:
            verify_sidecar(report.path)
            report.kind = kind_of(report.path)
        except CatalogueFileError as error:
            report.note("unreadable", str(error).removeprefix(f"{report.path}: "), record=0)
    with AsinTable() as products:
        with_items = [report for report in reports if report.kind == "items"]
        for report in with_items:
            _check_members(report, lambda report, _, item: _check_item(report, item, products))
        for report in reports:
            if report.kind == OWN:
                _check_own(report)
            elif report.kind is not None and report.kind != "items":
                _check_by_asin(report, products if with_items else None)
    return CheckReport(reports)


def _check_own(report: FileReport) -> None:
    """Check products of one's own, and tell what is missing for play."""
    try:
        for number, records in plain_records(rows_of(report.path)):
            report.counts["records"] += 1
            if isinstance(records, RecordError):
                report.note("malformed", str(records), record=number)
                continue
            product = records.build()
            report.counts.update({"products": 1, "with options": bool(product.options),
                                  "with instruction": product.synthetic is not None})  # fmt: skip
            if product.synthetic is None:
                report.note("no attributes", "it has no attributes, so that it gives no goal", product.asin)
    except CatalogueFileError as error:
        report.note("unreadable", str(error).removeprefix(f"{report.path}: "), record=0)


def _check_members(report: FileReport, check_one: Callable[[FileReport, Any, Any], None]) -> None:
    try:
        for key, value in members(report.path):
            report.counts["records"] += 1
            check_one(report, key, value)
    except CatalogueFileError as error:
        report.note("unreadable", str(error).removeprefix(f"{report.path}: "), record=0)


def _check_item(report: FileReport, item: Any, products: AsinTable) -> None:
    asin = asin_or_nothing(item)
    if isinstance(item, dict) and (missing := [name for name in _REQUIRED if name not in item]):
        report.note("missing", f"it has no {', no '.join(missing)}", asin)
        return
    if is_left_out(item):
        report.note("left out", f"the asin is 'nan' or longer than {MAX_ASIN_CHARS} characters", asin)
        return
    try:
        product = build_product(item)
    except RecordError as error:
        report.note("malformed", str(error), asin)
        return
    if not products.put(asin):
        report.note("duplicated", "an earlier record has the same asin", asin)
        return
    report.counts.update(
        {"products": 1, "without price": not item.get("pricing"), "with options": bool(product.options)}
    )


def _check_by_asin(report: FileReport, products: AsinTable | None) -> None:
    """Check a file of attributes or of instructions; products is None where no items are known."""
    check_one = _check_annotation if report.kind == "attributes" else _check_wishes

    def check_member(report: FileReport, asin: str, value: Any) -> None:
        if not seen.put(asin):
            report.note("duplicated", "an earlier record has the same asin, and the last one counts", asin)
        if products is not None and asin not in products:
            report.note("unknown product", "no item has this asin", asin)
        try:
            check_one(report, asin, value)
        except RecordError as error:
            report.note("malformed", str(error), asin)

    with AsinTable() as seen:
        _check_members(report, check_member)


def _check_annotation(report: FileReport, asin: str, annotation: Record) -> None:
    _, synthetic = read_annotation(annotation)
    if "attributes" not in annotation:
        report.note("no attributes", "it has no attributes", asin)
    if synthetic is not None and not synthetic.attributes:
        report.note("no attributes", "its instruction asks for no attributes, so that it gives no goal", asin)
    report.counts.update({"with attributes": bool(annotation.get("attributes")), "with instruction": bool(synthetic)})


def _check_wishes(report: FileReport, asin: str, records: Any) -> None:
    for wish in read_wishes(records):
        report.counts["instructions"] += 1
        if not wish.attributes:
            report.note("no attributes", "an instruction asks for no attributes, so that it gives no goal", asin)
