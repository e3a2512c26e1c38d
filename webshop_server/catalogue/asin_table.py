"""A temporary table of values by asin, larger than memory where it has to be."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Self

from turngym.webshop_server.catalogue.records import asin_key


class AsinTable:
    """Values by asin in a temporary database, which SQLite keeps in memory while it is small."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA cache_size = -65536;"
            "CREATE TABLE values_by_asin (asin BLOB PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID; BEGIN;"
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
        self._database.execute("REPLACE INTO values_by_asin VALUES (?, ?)", (asin_key(asin), json.dumps(value)))
        return absent

    def get(self, asin: str) -> Any:
        """Return the value kept for an asin, or None."""
        found = self._find(asin)
        return None if found is None else json.loads(found)

    def _find(self, asin: str) -> str | None:
        row = self._database.execute("SELECT value FROM values_by_asin WHERE asin = ?", (asin_key(asin),)).fetchone()
        return None if row is None else row[0]
