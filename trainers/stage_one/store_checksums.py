"""Checksums of stored episodes: SQLite checks how a file is built, and does not see that a number in it has changed."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

CHECKSUMS = "CREATE TABLE IF NOT EXISTS checksums (episode INTEGER PRIMARY KEY, digest BLOB NOT NULL)"
"""The table; stores of earlier versions are without it, and their episodes pass unchecked."""
DIGEST_BYTES = 16

Episode = tuple[int, bytes]
"""The number of an episode in the store, and its digest."""


def add_checksums(database: sqlite3.Connection, fingerprint: Mapping[str, str], first: int) -> None:
    """Write down the digests of the episodes from number `first` on, within a transaction."""
    database.execute(CHECKSUMS)
    database.executemany("INSERT INTO checksums VALUES (?, ?)", _digests(database, fingerprint, first))


def damaged_episode(database: sqlite3.Connection, fingerprint: Mapping[str, str]) -> int | None:
    """Return the number of an episode that is not as it was stored, None where all are."""
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'checksums'").fetchone() is None:
        return None
    stored = dict(database.execute("SELECT episode, digest FROM checksums"))
    for episode, digest in _digests(database, fingerprint, 0):
        if stored.pop(episode, digest) != digest:
            return episode
    return next(iter(stored), None)  # one that is missing


def _digests(database: sqlite3.Connection, fingerprint: Mapping[str, str], first: int) -> Iterator[Episode]:
    """Yield number and digest of every episode: of its row, its turns, and the set-up that it was played in."""
    set_up = repr(sorted(fingerprint.items()))
    episodes = database.execute("SELECT * FROM episodes WHERE id >= ? ORDER BY id", (first,))
    turns = database.execute("SELECT * FROM turns WHERE episode >= ? ORDER BY episode, turn", (first,))
    played = _together(turns)
    number, rows = next(played, (-1, []))
    for episode in episodes:
        own: list[tuple[Any, ...]] = []
        if number == episode[0]:
            own = rows
            number, rows = next(played, (-1, []))
        text = repr((set_up, episode, own)).encode("utf-8", "surrogatepass")
        yield episode[0], hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def _together(turns: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Yield the turns of each episode."""
    for episode, rows in groupby(turns, key=lambda row: row[0]):
        yield episode, list(rows)
