"""The files of a catalogue, read for use; they may be larger than memory.

A catalogue of one's own is one file; see `turngym.webshop_server.catalogue.plain`. Of the original WebShop there are
three kinds, told apart by their content: a list of products (`items_shuffle*.json`), an object of attributes
and synthetic instructions by asin (`items_ins_v2*.json`), and an object of lists of people's instructions by asin
(`items_human_ins.json`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

from turngym.webshop_server.catalogue.asin_table import AsinTable
from turngym.webshop_server.catalogue.catalogue import Catalogue
from turngym.webshop_server.catalogue.json_stream import CatalogueFileError, members
from turngym.webshop_server.catalogue.plain import is_plain, is_table, plain_records, rows_of
from turngym.webshop_server.catalogue.records import (
    ProductRecords,
    RecordError,
    asin_or_nothing,
    build_product,
    is_left_out,
    read_annotation,
    read_wishes,
)
from turngym.webshop_server.catalogue.sidecar import verify_sidecar

Kind = Literal["items", "attributes", "instructions", "products of one's own"]
OWN: Kind = "products of one's own"
ProblemKind = Literal[
    "unreadable", "missing", "malformed", "left out", "duplicated", "unknown product", "no attributes"
]


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
    """The products."""
    attributes: Path | None = None
    instructions: Path | None = None
    own: bool = False
    """Whether the products are in the form of one's own, with all that is known of them."""

    @classmethod
    def recognize(cls, paths: Iterable[Path]) -> Self:
        """Return files in their roles, by their content.

        Raises:
            CatalogueFileError: One cannot be read, two are of one kind, or none holds products.
        """
        roles: dict[str, Path] = {}
        for path in paths:
            verify_sidecar(path)
            kind = kind_of(path)
            if kind in roles:
                raise CatalogueFileError(f"{roles[kind]} and {path} are both files of {kind}: name only one of them")
            roles[kind] = path
        if OWN in roles:
            if others := [path for kind, path in roles.items() if kind != OWN]:
                raise CatalogueFileError(f"{roles[OWN]} is a catalogue by itself: leave out {others[0]}")
            return cls(items=roles[OWN], own=True)
        if "items" not in roles:
            raise CatalogueFileError("none of the files holds products: name a file such as items_shuffle_1000.json")
        return cls(items=roles["items"], attributes=roles.get("attributes"), instructions=roles.get("instructions"))


def kind_of(path: Path) -> Kind:
    """Return what a file holds, by the first of its members that is an object or a list.

    Raises:
        CatalogueFileError: The file is of no kind that a catalogue has.
    """
    if is_table(path):
        return OWN
    for key, value in members(path):
        if key is None:
            return OWN if is_plain(value) else "items"
        if key == "asin":
            raise CatalogueFileError(
                f"{path} holds a product by itself, not in a list; if each line is a product (JSON lines), "
                "make them one list: [PRODUCT, PRODUCT, ...]"
            )
        if isinstance(value, dict | list):
            return "attributes" if isinstance(value, dict) else "instructions"
    raise CatalogueFileError(
        f"{path} holds neither a list of products nor attributes (objects) or instructions (lists) by asin"
    )


def refuse(problem: Problem) -> NoReturn:
    """Raise an error that names a malformed record.

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
    if files.own:
        for number, records in plain_records(islice(rows_of(files.items), num_products)):
            if isinstance(records, RecordError):
                on_malformed(Problem(files.items, number, "", "malformed", str(records)))
            else:
                yield records
        return
    with AsinTable() as annotations, AsinTable() as wishes:
        _put_into(annotations, files.attributes, read_annotation, on_malformed)
        _put_into(wishes, files.instructions, read_wishes, on_malformed)
        for number, (_, item) in enumerate(islice(members(files.items), num_products), start=1):
            if is_left_out(item):
                continue
            try:
                asin = build_product(item).asin
            except RecordError as error:
                on_malformed(Problem(files.items, number, asin_or_nothing(item), "malformed", str(error)))
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


def _put_into(
    table: AsinTable, path: Path | None, read: Callable[[Any], object], on_malformed: Callable[[Problem], None]
) -> None:
    if path is None:
        return
    for number, (asin, value) in enumerate(members(path), start=1):
        try:
            read(value)
        except RecordError as error:
            on_malformed(Problem(path, number, asin or "", "malformed", str(error)))
        else:
            table.put(asin or "", value)
