"""The files of the original WebShop: read for use, or checked. They may be larger than memory, and compressed or not.

There are three kinds, told apart by their content: a list of products (`items_shuffle*.json`), an object of attributes
and synthetic instructions by asin (`items_ins_v2*.json`), and an object of lists of people's instructions by asin
(`items_human_ins.json`).
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, TextIO

from turngym.webshop_server.catalogue import (
    MAX_ASIN_CHARS,
    Catalogue,
    ProductRecords,
    Record,
    RecordError,
    asin_key,
    build_product,
    read_annotation,
    read_wish,
)

Kind = Literal["items", "attributes", "instructions"]
ProblemKind = Literal[
    "unreadable", "missing", "malformed", "left out", "duplicated", "unknown product", "no attributes"
]
FATAL: frozenset[ProblemKind] = frozenset({"unreadable", "missing", "malformed"})
"""Problems with which files are not read for use; the others are what the original passes over as well."""
LISTED_PROBLEMS = 100
"""How many problems of a file a report lists; it counts them all."""
CHUNK_CHARS = 1 << 20
MAX_MEMBER_CHARS = 1 << 26
"""Longer members of a file are taken for damage."""
_REQUIRED = ("asin", "name", "full_description", "small_description", "category", "query", "product_category")
_BLANKS = re.compile(r"[ \t\n\r]*")
_CLOSING = {"[": "]", "{": "}"}
_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_CUT_TOKEN = 16
"""Characters of a JSON token, strings aside, that the end of the text may have cut off."""


class CatalogueFileError(ValueError):
    """A file is not one of the original's, or is damaged; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one record of a file."""

    path: Path
    record: int
    """The place of the record in its file, from 1; 0 for the whole file."""
    asin: str
    """The product, or nothing where it is unknown."""
    kind: ProblemKind
    reason: str
    """What is wrong, in words."""

    def __str__(self) -> str:
        """Return the problem and where it is, as a line for people."""
        place = f", record {self.record}" if self.record else ""
        return f"{self.path}{place}{f' ({self.asin})' if self.asin else ''}: {self.reason}"


@dataclass(frozen=True, slots=True)
class CatalogueFiles:
    """The files of one catalogue."""

    items: Path
    attributes: Path | None = None
    instructions: Path | None = None

    @classmethod
    def recognize(cls, paths: Iterable[Path]) -> Self:
        """Return files in their roles, by their content.

        Raises:
            CatalogueFileError: One cannot be read, two are of one kind, or none holds products.
        """
        roles: dict[str, Path] = {}
        for path in paths:
            kind = kind_of(path)
            if kind in roles:
                raise CatalogueFileError(f"{roles[kind]} and {path} are both files of {kind}: name only one of them")
            roles[kind] = path
        if "items" not in roles:
            raise CatalogueFileError("none of the files holds products: name a file such as items_shuffle_1000.json")
        return cls(**roles)


@dataclass(slots=True)
class FileReport:
    """What a check found in one file."""

    path: Path
    kind: Kind | None = None
    """What the file holds; None if that cannot be told."""
    counts: Counter[str] = field(default_factory=Counter)
    """Records, and how many of them have what."""
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


class JsonStream:
    """The members of a JSON list or object, one after another, from a text that need not fit into memory.

    Args:
        read: Gives the next characters of the text, at most so many, and none at its end.
        chunk_chars: How many characters to ask for, at least 1.
    """

    def __init__(self, read: Callable[[int], str], chunk_chars: int = CHUNK_CHARS) -> None:
        self._read = read
        self._chunk_chars = chunk_chars
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder()
        self.members = 0
        """How many members have been given."""

    def __iter__(self) -> Iterator[tuple[str | None, Any]]:
        """Give each value with its key, or with None in a list.

        Raises:
            CatalogueFileError: The text is not a JSON list or object; what precedes the mistake has been given.
        """
        closing = _CLOSING.get(opening := self._take())
        if closing is None:
            found = f"begins with {opening!r}" if opening else "is empty"
            raise CatalogueFileError(f"it must be a JSON list or object, but {found}")
        if self._peek() == closing:
            self._at += 1
        else:
            yield from self._members(closing)
        if self._peek():
            raise CatalogueFileError(f"there is text after its end: {self._peek()!r}")

    def _members(self, closing: str) -> Iterator[tuple[str | None, Any]]:
        separator = ","
        while separator == ",":
            key = self._key() if closing == "}" else None
            value = self._value()
            self.members += 1
            yield key, value
            separator = self._take()
        if not separator:
            raise CatalogueFileError(f"it is cut off after record {self.members}")
        if separator != closing:
            raise CatalogueFileError(f"after record {self.members} stands {separator!r} instead of ',' or {closing!r}")

    def _key(self) -> str:
        key = self._value()
        if not isinstance(key, str) or self._take() != ":":
            self._fail("it must begin with a name in quotes and a colon")
        return key

    def _value(self) -> Any:
        """Decode the next value, with more and more text until it is whole."""
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._may_be_cut(error):
                    self._fail(error.msg)
                if self._ended:
                    self._fail("the file is cut off there" if self._is_cut(error) else error.msg)
            except (RecursionError, ValueError) as error:  # nested too deeply, or a number of too many digits
                self._fail(str(error))
            else:
                if self._ended or end + _LONGEST_CUT_TOKEN <= len(self._buffer):  # else a number may go on
                    self._at = end
                    return value
            self._fill()

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos + _LONGEST_CUT_TOKEN > len(self._buffer)

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._buffer.rstrip())

    def _take(self) -> str:
        char = self._peek()
        self._at += len(char)
        return char

    def _peek(self) -> str:
        """Return the next character that is not blank, or nothing at the end, and move there."""
        while True:
            blanks = _BLANKS.match(self._buffer, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._buffer) or self._ended:
                return self._buffer[self._at : self._at + 1]
            self._fill()

    def _fill(self) -> None:
        """Read on; twice as much where a member is long, so that the time stays linear in its length."""
        rest = self._buffer[self._at :]
        if len(rest) > MAX_MEMBER_CHARS:
            self._fail(f"it is longer than {MAX_MEMBER_CHARS} characters, which looks like a missing quote")
        more = self._read(max(self._chunk_chars, len(rest)))
        self._ended = not more
        self._buffer, self._at = rest + more, 0

    def _fail(self, reason: str) -> NoReturn:
        raise CatalogueFileError(f"record {self.members + 1} is not JSON: {reason}")


class _Shelf:
    """Values by asin in a temporary database, which SQLite keeps in memory while it is small."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA cache_size = -65536;"
            "CREATE TABLE shelf (asin BLOB PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID; BEGIN;"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def __contains__(self, asin: str) -> bool:
        return self._find(asin) is not None

    def put(self, asin: str, value: Any = None) -> bool:
        """Keep a value in the place of an earlier one; return whether there was none."""
        absent = self._find(asin) is None
        self._database.execute("REPLACE INTO shelf VALUES (?, ?)", (asin_key(asin), json.dumps(value)))
        return absent

    def get(self, asin: str) -> Any:
        """Return the value kept for an asin, or None."""
        found = self._find(asin)
        return None if found is None else json.loads(found)

    def _find(self, asin: str) -> str | None:
        row = self._database.execute("SELECT value FROM shelf WHERE asin = ?", (asin_key(asin),)).fetchone()
        return None if row is None else row[0]


def members(path: Path) -> Iterator[tuple[str | None, Any]]:
    """Give the members of a JSON file, with their keys or with None in a list; a compressed one will do.

    Raises:
        CatalogueFileError: The file cannot be read, or is not a JSON list or object.
    """
    stream = None
    try:
        with _open_text(path) as file:
            stream = JsonStream(file.read)
            yield from stream
    except CatalogueFileError as error:
        raise CatalogueFileError(f"{path}: {error}") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        place = f"after record {stream.members}: " if stream and stream.members else ""
        raise CatalogueFileError(f"{path} cannot be read: {place}{error}") from error


def kind_of(path: Path) -> Kind:
    """Return what a file holds, by the first of its members that is an object or a list.

    Raises:
        CatalogueFileError: The file is of no kind that the original has.
    """
    for key, value in members(path):
        if key is None:
            return "items"
        if isinstance(value, dict | list):
            return "attributes" if isinstance(value, dict) else "instructions"
    raise CatalogueFileError(
        f"{path} holds neither a list of products nor attributes (objects) or instructions (lists) by asin"
    )


def refuse(problem: Problem) -> NoReturn:
    """Take a malformed record for an error, which names it.

    Raises:
        CatalogueFileError: Always.
    """
    raise CatalogueFileError(f"{problem}; `turngym webshop check FILE...` lists all that is wrong with the files")


def read_records(
    files: CatalogueFiles,
    *,
    num_products: int | None = None,
    on_malformed: Callable[[Problem], None] = refuse,
) -> Iterator[ProductRecords]:
    """Give the records of every product, in the order of the items, with little memory.

    As in the original, items whose asin is `nan` or too long are left out. Duplicates are given: both kinds of
    catalogue keep the first.

    Args:
        files: Where they are.
        num_products: Read this many items, those left out among them; None for all.
        on_malformed: Is told of each malformed record, and leaves it out unless it raises an error.

    Raises:
        CatalogueFileError: A file cannot be read, or holds a malformed record.
    """
    with _Shelf() as annotations, _Shelf() as wishes:
        _put_on_shelf(annotations, files.attributes, read_annotation, on_malformed)
        _put_on_shelf(wishes, files.instructions, _read_wishes, on_malformed)
        for number, (_, item) in enumerate(islice(members(files.items), num_products), start=1):
            if _is_left_out(item):
                continue
            try:
                asin = build_product(item).asin
            except RecordError as error:
                on_malformed(Problem(files.items, number, _asin_or_nothing(item), "malformed", str(error)))
            else:
                yield ProductRecords(item, annotations.get(asin), tuple(wishes.get(asin) or ()))


def read_catalogue(
    files: CatalogueFiles,
    *,
    num_products: int | None = None,
    on_malformed: Callable[[Problem], None] = refuse,
) -> Catalogue:
    """Read a catalogue into memory; `read_records` says how, and what the arguments mean.

    Raises:
        CatalogueFileError: A file cannot be read, or holds a malformed record.
    """
    records = read_records(files, num_products=num_products, on_malformed=on_malformed)
    return Catalogue(product.build() for product in records)


def check(paths: Iterable[Path]) -> CheckReport:
    """Look at every record of files of any of the three kinds, and at how they go together.

    Whether attributes and instructions are of known products is only checked if a file of items is among them.
    """
    reports = tuple(FileReport(path) for path in paths)
    for report in reports:
        try:
            report.kind = kind_of(report.path)
        except CatalogueFileError as error:
            report.note("unreadable", str(error).removeprefix(f"{report.path}: "), record=0)
    with _Shelf() as products:
        with_items = [report for report in reports if report.kind == "items"]
        for report in with_items:
            _check_members(report, lambda report, _, item: _check_item(report, item, products))
        for report in reports:
            if report.kind is not None and report.kind != "items":
                _check_by_asin(report, products if with_items else None)
    return CheckReport(reports)


def _check_members(report: FileReport, check_one: Callable[[FileReport, Any, Any], None]) -> None:
    try:
        for key, value in members(report.path):
            report.counts["records"] += 1
            check_one(report, key, value)
    except CatalogueFileError as error:
        report.note("unreadable", str(error).removeprefix(f"{report.path}: "), record=0)


def _check_item(report: FileReport, item: Any, products: _Shelf) -> None:
    asin = _asin_or_nothing(item)
    if isinstance(item, dict) and (missing := [name for name in _REQUIRED if name not in item]):
        report.note("missing", f"it has no {', no '.join(missing)}", asin)
        return
    if _is_left_out(item):
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


def _check_by_asin(report: FileReport, products: _Shelf | None) -> None:
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

    with _Shelf() as seen:
        _check_members(report, check_member)


def _check_annotation(report: FileReport, asin: str, annotation: Record) -> None:
    _, synthetic = read_annotation(annotation)
    if "attributes" not in annotation:
        report.note("no attributes", "it has no attributes", asin)
    if synthetic is not None and not synthetic.attributes:
        report.note("no attributes", "its instruction asks for no attributes, so that it gives no goal", asin)
    report.counts.update({"with attributes": bool(annotation.get("attributes")), "with instruction": bool(synthetic)})


def _check_wishes(report: FileReport, asin: str, records: Any) -> None:
    for wish in _read_wishes(records):
        report.counts["instructions"] += 1
        if not wish.attributes:
            report.note("no attributes", "an instruction asks for no attributes, so that it gives no goal", asin)


def _read_wishes(records: Any) -> list[Any]:
    if not isinstance(records, list):
        raise RecordError(f"the instructions must be a list, got {type(records).__name__}")
    return [read_wish(record) for record in records]


def _put_on_shelf(
    shelf: _Shelf, path: Path | None, read: Callable[[Any], object], on_malformed: Callable[[Problem], None]
) -> None:
    if path is None:
        return
    for number, (asin, value) in enumerate(members(path), start=1):
        try:
            read(value)
        except RecordError as error:
            on_malformed(Problem(path, number, asin or "", "malformed", str(error)))
        else:
            shelf.put(asin or "", value)


def _is_left_out(item: Any) -> bool:
    asin = _asin_or_nothing(item)
    return asin == "nan" or len(asin) > MAX_ASIN_CHARS


def _asin_or_nothing(item: Any) -> str:
    asin = item.get("asin") if isinstance(item, dict) else None
    return asin if isinstance(asin, str) else ""


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    return (gzip.open if compressed else open)(path, "rt", encoding="utf-8-sig")
