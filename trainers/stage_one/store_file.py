"""The file of a value store: created where absent, and checked when it is opened."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from turngym._errors import file_error
from turngym.trainers.stage_one.store_checksums import damaged_episode
from turngym.trainers.stage_one.store_rows import TABLES, transaction

SCHEMA = 4
APPLICATION_ID = 0x74676D76
"""Written into the file's header ("tgmv"), so that a database of another program is recognised."""


class ValueStoreError(ValueError):
    """The file cannot be used as a value store."""


class ValueStoreMismatch(ValueStoreError):
    """The store holds samples of another set-up."""


class EmptyValueStore(ValueStoreError):
    """The file holds nothing, as one that was being created when its process was killed; a fingerprint fills it."""


def differences(stored: Mapping[str, str], here: Mapping[str, str], where: str) -> str:
    """Return the differences between two fingerprints in words, the empty text where they are the same.

    Args:
        stored: The other fingerprint.
        here: This one.
        where: Where the other one comes from, such as "in the store".
    """
    return "; ".join(
        f"{name} is {stored.get(name, '(absent)')!r} {where}, {here.get(name, '(absent)')!r} here"
        for name in sorted(stored.keys() | here.keys())
        if stored.get(name) != here.get(name)
    )


def open_database(path: Path, fingerprint: Mapping[str, str] | None) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Open the file of a value store and return the database with its fingerprint.

    Args:
        path: The file; it and its folder are created where absent.
        fingerprint: What the file must have; None takes any, and creates none. Then a file that cannot be written is
            read all the same.

    Raises:
        ValueStoreMismatch: The file belongs to another set-up.
        ValueStoreError: The file is damaged, of another program or of another schema; or absent, without a fingerprint.
        sqlite3.OperationalError: The disk is full or fails.
    """
    if fingerprint is None and not path.is_file():
        raise ValueStoreError(f"there is no value store {path}")
    if fingerprint is None and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _read_only(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Autocommit: `transaction` says where a transaction begins and ends.
        database = sqlite3.connect(path, timeout=30.0, isolation_level=None)
    except sqlite3.Error as error:
        raise ValueStoreError(f"the value store {path} cannot be opened: {error}") from error
    try:
        stored = _prepare(database, path, fingerprint)
        _keep_log(database)
        return database, stored
    except sqlite3.Error as error:
        database.close()
        if file_error(error):
            raise
        raise ValueStoreError(
            f"{path} is not a usable value store ({error}); "
            "move it away to sample the reference anew, or restore it from a checkpoint"
        ) from error
    except ValueStoreError:
        database.close()
        raise


def _read_only(path: Path) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Read a store that lies where neither a lock nor a log can be written beside it into memory."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with TemporaryDirectory() as place:
            for name in (path.name, f"{path.name}-wal"):  # the log of a run that was killed holds its last episodes
                if (path.parent / name).exists():
                    shutil.copyfile(path.parent / name, Path(place) / name)
            with closing(sqlite3.connect(Path(place) / path.name)) as copy:
                copy.backup(memory)
        stored = _prepare(memory, path, None)
        memory.execute("PRAGMA query_only = ON")  # what is added here would be lost
    except sqlite3.DatabaseError as error:
        memory.close()
        raise ValueStoreError(f"{path} is not a usable value store ({error})") from error
    except ValueStoreError:
        memory.close()
        raise
    return memory, stored


def _prepare(database: sqlite3.Connection, path: Path, fingerprint: Mapping[str, str] | None) -> dict[str, str]:
    """Create the tables in an empty file; otherwise check that the file is a value store, whole and of this set-up."""
    if fingerprint is not None:
        with transaction(database):
            if database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,):
                _create(database, fingerprint)
    _check_file(database, path)
    stored = dict(database.execute("SELECT name, value FROM fingerprint"))
    if (number := damaged_episode(database, stored)) is not None:
        raise ValueStoreError(
            f"the value store {path} is damaged: its episode {number} has changed since it was stored; "
            "restore it from a checkpoint, or move it away: a run that is resumed does so itself, or samples anew"
        )
    if fingerprint is not None and (unlike := differences(stored, fingerprint, "in the store")):
        raise ValueStoreMismatch(
            f"the value store {path} holds samples of another set-up: {unlike}. "
            "Go back to those settings, or give another path to sample the reference anew"
        )
    return stored


def _keep_log(database: sqlite3.Connection) -> None:
    # A log beside the file keeps readers and a killed writer apart. Losing power may lose the last batches, never the
    # file, and a lost batch is simply sampled again; so the log need not reach the disk at every commit.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")


def _create(database: sqlite3.Connection, fingerprint: Mapping[str, str]) -> None:
    for statement in filter(str.strip, TABLES.split(";")):
        database.execute(statement)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {SCHEMA}")
    database.executemany("INSERT INTO fingerprint VALUES (?, ?)", fingerprint.items())


def _check_file(database: sqlite3.Connection, path: Path) -> None:
    def pragma(name: str) -> Any:
        return database.execute(f"PRAGMA {name}").fetchone()[0]

    if database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,):
        raise EmptyValueStore(f"the value store {path} is empty; restore it from a checkpoint, or delete it: a run "
                              "that is resumed does so itself, or samples anew")  # fmt: skip
    if pragma("application_id") != APPLICATION_ID:
        raise ValueStoreError(f"{path} is a database of another program, not a value store; give another path")
    schema = pragma("user_version")
    if schema != SCHEMA:
        raise ValueStoreError(
            f"{path} has schema {schema}, this version reads {SCHEMA}; give another path to sample anew"
        )
    verdict = pragma("integrity_check(1)")
    if verdict != "ok":
        raise ValueStoreError(f"the value store {path} is damaged ({verdict}); restore it from a checkpoint")
