"""Catalogues of one's own in one file: a table (CSV) or a list of objects (JSON) with a row for each product.

    title,price,category,attributes,option color,option size
    Linen shirt,29.90,clothing,breathable|machine wash,white|navy,S|M|L
    Oak stool,79,furniture,solid wood,,

Only `title` and `price` are needed. In CSV several values stand in one cell with `|` between them; in JSON they are
lists, and `options` is an object of lists. Rows become records of the original's form, and all else reads those.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from turngym.webshop_server.catalogue.json_stream import CatalogueFileError, members
from turngym.webshop_server.catalogue.records import (
    MAX_ASIN_CHARS,
    ProductRecords,
    RecordError,
    optional_text,
    texts_of,
)

CSV_SUFFIXES = (".csv", ".csv.gz")
TEXTS = ("id", "title", "price", "category", "query", "description", "image", "instruction")
"""Fields that hold a text each."""
LISTS = ("features", "attributes", "instruction_attributes")
"""Fields that hold texts."""
OPTION = "option "
"""How the name of a column begins whose cells hold the values of an option."""
SEPARATOR = "|"
MOST_WANTED = 3
"""Attributes of an instruction that is written here: the first ones."""
_PRICE = re.compile(r"\$?\d+(?:\.\d+)?(?:\s*-\s*\$?\d+(?:\.\d+)?)?")
_IDS = "P{:0>9}"


def is_table(path: Path) -> bool:
    """Return whether a file is a table, by its name."""
    return path.name.lower().endswith(CSV_SUFFIXES)


def is_plain(first: Any) -> bool:
    """Return whether the first member of a JSON list is a product of one's own and not one of the original's."""
    return isinstance(first, dict) and "title" in first and "asin" not in first


def rows_of(path: Path) -> Iterator[Any]:
    """Yield the rows of a file, as objects of a JSON list.

    Raises:
        CatalogueFileError: The file cannot be read, or its header lacks a name or has one twice.
    """
    if not is_table(path):
        yield from (row for _, row in members(path))
        return
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip() for name in next(lines, [])]
            _check_header(path, header)
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    yield _row(path, lines.line_num, header, cells)
    except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise CatalogueFileError(f"{path}: it is no table in UTF-8 with commas: {error}") from error
    except OSError as error:
        raise CatalogueFileError(f"{path}: it cannot be read: {error.strerror or error}") from error


def _check_header(path: Path, header: list[str]) -> None:
    lacking = [name for name in ("title", "price") if name not in header]
    if lacking:
        raise CatalogueFileError(
            f"{path}: its first line must name the columns, and {' and '.join(lacking)} "
            f"{'are' if lacking[1:] else 'is'} not among them: {', '.join(header) or 'nothing'}"
        )
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise CatalogueFileError(f"{path}: two columns are named {twice!r}")


def _row(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, Any]:
    """Return a line of a table as an object of a JSON list.

    Raises:
        CatalogueFileError: It has more cells than columns.
    """
    if len(cells) > len(header):
        raise CatalogueFileError(f"{path}: line {line} has {len(cells)} cells for {len(header)} columns; a cell with a "
                                 "comma in it stands in quotation marks")  # fmt: skip
    row: dict[str, Any] = {"options": {}}
    for name, cell in zip(header, cells, strict=False):
        values = [value.strip() for value in cell.split(SEPARATOR) if value.strip()]
        if name.startswith(OPTION):
            row["options"][name.removeprefix(OPTION).strip()] = values
        elif name in LISTS:
            row[name] = values
        else:
            row[name] = cell.strip()
    return row


def plain_records(rows: Iterator[Any]) -> Iterator[tuple[int, ProductRecords | RecordError]]:
    """Yield the number of each row, from 1, with the records that it makes, or with what is wrong with it."""
    taken: set[str] = set()
    numbers = count(1)
    for number, row in enumerate(rows, start=1):
        try:
            asin = _id(row, taken, numbers)
            records = _records(row, asin)
            records.build()
        except RecordError as error:
            yield number, error
        else:
            taken.add(asin)
            yield number, records


def _id(row: Any, taken: set[str], numbers: Iterator[int]) -> str:
    """Return the id of a row, or one that no row has had.

    Raises:
        RecordError: It is too long, or an earlier row has it.
    """
    given = _text(row, "id").upper()  # ids in links and actions are upper case
    if not given:
        return next(name for number in numbers if (name := _IDS.format(number)) not in taken)
    if len(given) > MAX_ASIN_CHARS or not given.isalnum():
        raise RecordError(f"id must be 1 to {MAX_ASIN_CHARS} letters and digits, got {given!r}")
    if given in taken:
        raise RecordError(f"an earlier product has the id {given!r}")
    return given


def _records(row: Any, asin: str) -> ProductRecords:
    known = {*TEXTS, *LISTS, "options"}
    if unknown := [name for name in row if name not in known]:
        raise RecordError(f"there is no field {unknown[0]!r}; known are {', '.join(sorted(known))}, and in a table "
                          f"columns such as '{OPTION}color'")  # fmt: skip
    title, attributes = _text(row, "title"), _texts(row, "attributes")
    if not title:
        raise RecordError("it has no title")
    category = _text(row, "category") or "products"
    query = _text(row, "query") or category
    told = " ".join([title, _text(row, "description"), *_texts(row, "features")]).lower()
    hidden = [attribute for attribute in attributes if attribute.lower() not in told]
    wanted = _texts(row, "instruction_attributes") or attributes[:MOST_WANTED]
    if strange := [attribute for attribute in wanted if attribute not in attributes]:
        raise RecordError(f"the instruction asks for {strange[0]!r}, which is none of its attributes")
    instruction = _text(row, "instruction") or (f"Find me {', '.join(wanted)} {query}" if wanted else "")
    item = {
        "asin": asin, "name": title, "category": category, "query": query, "product_category": category,
        "full_description": _text(row, "description"), "small_description": [*_texts(row, "features"), *hidden],
        "pricing": _pricing(row), "images": [image] if (image := _text(row, "image")) else [],
        "customization_options": _options(row),
    }  # fmt: skip
    annotation: dict[str, Any] = {"attributes": attributes} if attributes else {}
    if instruction and wanted:
        annotation |= {"instruction": instruction, "instruction_attributes": wanted}
    return ProductRecords(item, annotation or None)


def _pricing(row: Mapping[str, Any]) -> str:
    """Return a price in the original's form, such as `$9.99` or `$9.99 - $19.99`.

    Raises:
        RecordError: There is none.
    """
    value = row.get("price")
    written = f"{value:f}" if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(written, str) or not _PRICE.fullmatch(written.strip()):
        raise RecordError(f"price must be dollars such as 9.99, or a range such as 9.99 - 19.99, got {value!r}")
    return " - ".join(f"${float(part.strip(' $')):.2f}" for part in written.split("-"))


def _options(row: Mapping[str, Any]) -> Any:
    options = row.get("options") or {}
    if not isinstance(options, dict):
        raise RecordError(f"options must be an object of lists, got {type(options).__name__}")
    found = {name: [{"value": value, "image": None} for value in _texts(options, name)] for name in options}
    return {name: values for name, values in found.items() if values} or ""


def _text(row: Any, name: str) -> str:
    return (optional_text(row, name) or "").strip()


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    if row.get(name) is None:
        return []
    values = [value.strip() for value in texts_of(row, name)]
    if not all(values):
        raise RecordError(f"{name} must be a list of texts, none of them empty")
    return values
