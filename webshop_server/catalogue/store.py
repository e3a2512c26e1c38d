"""A catalogue in a SQLite file, for more products than memory holds.

A row keeps the records of a product in the original's form, so that there is one way to build a product from them. The
order of the goals is kept as well: a goal is then made from one product alone. A file is written whole or not at all,
and never changes after: any number of processes can read it at once. It ends in a checksum of all before, which SQLite
passes over.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from turngym._durable import replacement
from turngym.webshop_server.catalogue.catalogue import Fingerprint
from turngym.webshop_server.catalogue.records import ProductRecords, asin_key
from turngym.webshop_server.checksum import crc32_of
from turngym.webshop_server.goals import GoalCensus, GoalOrder
from turngym.webshop_server.product import Product
from turngym.webshop_server.settings import GoalKind

SCHEMA = 3
APPLICATION_ID = 0x74677763
"""Written into the file's header ("tgwc"), so that a database of another program is recognized."""
CACHED_PRODUCTS = 4096
"""How many of the products used last are kept in memory."""
_SEAL = re.compile(rb"turngym crc32 ([0-9a-f]{8})\n")
"""The end of a file, after the database."""
_SEAL_BYTES = 23
_PAGE_BYTES = 8192
_BATCH = 1000
_NUMBER = np.dtype("<u4")
"""The type in which the file holds numbers of goals: 32-bit integers, little-endian."""

# Asins stand apart from the long records: the order of the file is read without reading all of it.
_TABLES = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA};
PRAGMA page_size = {_PAGE_BYTES};
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
CREATE TABLE catalogue (num_products INTEGER NOT NULL, fingerprint TEXT NOT NULL);
CREATE TABLE asins (position INTEGER PRIMARY KEY, asin BLOB NOT NULL UNIQUE);
CREATE TABLE records (position INTEGER PRIMARY KEY, records TEXT NOT NULL);
CREATE TABLE goals (
    kind TEXT PRIMARY KEY, holders BLOB NOT NULL, firsts BLOB NOT NULL, numbers BLOB NOT NULL, frequencies TEXT NOT NULL
);
BEGIN;
"""


class CatalogueStoreError(ValueError):
    """The file cannot be used as a catalogue; the message says why."""


def write_catalogue(path: str | Path, records: Iterable[ProductRecords]) -> int:
    """Write a catalogue, in the place of the file that may be there, and return its number of products.

    The file appears under its name when it is complete and safe on disk; until then, and after any error, what was
    there stays. Products whose asin came before are left out.

    Args:
        path: The file; its folder must exist.
        records: The products in their order.

    Raises:
        RecordError: A record is malformed.
        ValueError: The products have more goals than `MAX_GOALS`.
        OSError: The file cannot be written.
    """
    path = Path(path)
    try:
        with replacement(path) as unfinished:
            written = _fill(unfinished, records)
            seal(unfinished)
            return written
    except sqlite3.OperationalError as error:  # no such folder, no permission, disk full
        raise OSError(f"the catalogue {path} cannot be written: {error}") from error


def seal(path: Path) -> None:
    """End a file that holds a database alone with its checksum.

    Raises:
        OSError: It cannot be written.
    """
    checksum = crc32_of(path)
    with path.open("ab") as file:
        file.write(f"turngym crc32 {checksum}\n".encode())


class StoredCatalogue(Mapping[str, Product]):
    """Products by their asin, in the order of their file, read from what `write_catalogue` wrote when asked for.

    Threads can share it, and a process that was forked goes on with it. It is sent to another process by its path. All
    of it is read once when it is opened, at about 2 GB per second, and compared with its checksum. Use it as a context
    manager, or call `close`.

    Args:
        path: The file, which must not change while it is open.
        cached_products: How many products to keep in memory.

    Raises:
        CatalogueStoreError: There is no such file, or it is damaged, of another program or of another schema.
    """

    def __init__(self, path: str | Path, *, cached_products: int = CACHED_PRODUCTS) -> None:
        self.path = Path(path).absolute()
        self._cached_products = cached_products
        self._lock = Lock()
        self._build = lru_cache(maxsize=cached_products)(self._read)
        self._database, self._process = _connect(self.path), os.getpid()
        try:
            self._num_products, self.fingerprint = self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the catalogue itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self._cached_products)

    def __getitem__(self, asin: str) -> Product:
        """Return a product.

        Raises:
            KeyError: There is none with this asin.
            CatalogueStoreError: The file is damaged.
        """
        return self._build(asin)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, self._num_products, _BATCH):
            for (key,) in self._query(_SELECT_BATCH, first, first + _BATCH):
                yield key.decode("utf-8", "surrogatepass")

    def __len__(self) -> int:
        return self._num_products

    def product_at(self, position: int) -> Product:
        """Return the product at a position, from 0.

        Raises:
            IndexError: There is none.
            CatalogueStoreError: The file is damaged.
        """
        rows = self._query(_SELECT_BATCH, position, position + 1)
        if not rows:
            raise IndexError(position)
        return self[rows[0][0].decode("utf-8", "surrogatepass")]

    def goal_order(self, kind: GoalKind) -> GoalOrder:
        """Return the order of the goals of one kind.

        Raises:
            CatalogueStoreError: The file is damaged.
        """
        rows = self._query(_SELECT_GOALS, kind)
        try:
            ((holders, firsts, numbers, frequencies),) = rows
            return GoalOrder(kind, _numbers(holders), _numbers(firsts), _numbers(numbers), json.loads(frequencies))
        except (TypeError, ValueError) as error:
            raise CatalogueStoreError(
                f"{self.path} is damaged: the order of the {kind} goals is unreadable ({error})"
            ) from error

    def close(self) -> None:
        """Close the file; the catalogue cannot be used after."""
        self._database.close()

    def _open(self) -> tuple[int, str]:
        """Return the number of products and the fingerprint, if this is a catalogue."""
        if self._number("PRAGMA application_id") != APPLICATION_ID:
            raise CatalogueStoreError(f"{self.path} is a database, but not a catalogue of turngym")
        if (schema := self._number("PRAGMA user_version")) != SCHEMA:
            raise CatalogueStoreError(f"{self.path} has schema {schema}, this version reads {SCHEMA}: write it anew")
        whole = self._number("PRAGMA page_size") * self._number("PRAGMA page_count") + _SEAL_BYTES
        if (size := self.path.stat().st_size) != whole:
            raise CatalogueStoreError(f"{self.path} is damaged: it has {size:,} bytes instead of {whole:,}")
        self._verify()
        ((num_products, fingerprint),) = self._query("SELECT num_products, fingerprint FROM catalogue")
        return num_products, fingerprint

    def _verify(self) -> None:
        """Compare the file with the checksum that it ends in."""
        database = self.path.stat().st_size - _SEAL_BYTES
        try:
            with self.path.open("rb") as file:
                file.seek(database)
                found = _SEAL.fullmatch(file.read())
            if found is None or found[1].decode() != crc32_of(self.path, database):
                raise CatalogueStoreError(f"{self.path} is damaged: it does not have the checksum that it was written "
                                          "with; write it anew")  # fmt: skip
        except OSError as error:
            raise CatalogueStoreError(f"the catalogue {self.path} cannot be read: {error}") from error

    def _read(self, asin: object) -> Product:
        rows = self._query(_SELECT_RECORDS, asin_key(asin)) if isinstance(asin, str) else []
        if not rows:
            raise KeyError(asin)
        try:
            item, annotation, human = json.loads(rows[0][0])
            return ProductRecords(item, annotation, tuple(human)).build()
        except (TypeError, ValueError) as error:
            raise CatalogueStoreError(
                f"{self.path} is damaged: the records of {asin} are unreadable ({error})"
            ) from error

    def _number(self, query: str) -> int:
        return int(self._query(query)[0][0])

    def _query(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            if self._process != os.getpid():  # SQLite forbids to use a connection across a fork
                self._database.close()
                self._database, self._process = _connect(self.path), os.getpid()
            try:
                return self._database.execute(query, values).fetchall()
            except sqlite3.ProgrammingError:  # closed, or used in a wrong way: no fault of the file
                raise
            except sqlite3.DatabaseError as error:
                raise CatalogueStoreError(f"{self.path} is no catalogue, or is damaged: {error}") from error


_SELECT_BATCH = "SELECT asin FROM asins WHERE position >= ? AND position < ? ORDER BY position"
_SELECT_GOALS = "SELECT holders, firsts, numbers, frequencies FROM goals WHERE kind = ?"
_SELECT_RECORDS = "SELECT records FROM records WHERE position = (SELECT position FROM asins WHERE asin = ?)"


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file that never changes: without locks, also from a folder that cannot be written to."""
    try:
        return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise CatalogueStoreError(f"the catalogue {path} cannot be opened: {error}") from error


def _reopen(path: Path, cached_products: int) -> StoredCatalogue:
    return StoredCatalogue(path, cached_products=cached_products)


def _fill(path: Path, records: Iterable[ProductRecords]) -> int:
    fingerprint = Fingerprint()
    censuses = [GoalCensus(kind) for kind in get_args(GoalKind)]
    position = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(_TABLES)
        for one in records:
            product = one.build()
            asin = (position, asin_key(product.asin))
            if database.execute("INSERT OR IGNORE INTO asins VALUES (?, ?)", asin).rowcount:
                database.execute(
                    "INSERT INTO records VALUES (?, ?)", (position, json.dumps(one, separators=(",", ":")))
                )
                fingerprint.add(product)
                for census in censuses:
                    census.add(position, product)
                position += 1
        for census in censuses:
            database.execute("INSERT INTO goals VALUES (?, ?, ?, ?, ?)", _row(census.order()))
        database.execute("INSERT INTO catalogue VALUES (?, ?)", (position, fingerprint.hexdigest()))
        database.execute("COMMIT")
    return position


def _row(order: GoalOrder) -> tuple[str | bytes, ...]:
    arrays = (order.holders_H, order.firsts_H, order.numbers_G)
    return order.kind, *(array.astype(_NUMBER).tobytes() for array in arrays), json.dumps(order.frequencies)


def _numbers(content: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(content, dtype=_NUMBER).astype(np.uint32, copy=False)
