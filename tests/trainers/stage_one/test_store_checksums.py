"""A value store tells when what it holds is not what was stored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.trainers.stage_one.test_store import FINGERPRINT, episode

from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_file import ValueStoreError


def contents(path: Path) -> list[tuple[Any, ...]]:
    """Return every row of the tables that are read."""
    with closing(sqlite3.connect(path)) as database:
        return [row for table in ("fingerprint", "episodes", "turns")
                for row in database.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]  # noqa: S608 # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with forty episodes."""
    with ValueStore(tmp_path / "values.sqlite", FINGERPRINT) as store:
        store.add([episode(index, 3) for index in range(20)])
        store.add([episode(index, 4, 0.25) for index in range(20)])
    return tmp_path / "values.sqlite"


def changed(path: Path, statement: str) -> Path:
    """Change a store behind its back."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()
    return path


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("UPDATE episodes SET total_return = 0.5 WHERE id = 7", 7),
        ("UPDATE episodes SET success = 1 - success WHERE id = 40", 40),
        ("UPDATE turns SET reward = reward + 1e-12 WHERE episode = 3 AND turn = 1", 3),
        ("UPDATE turns SET state_key = state_key || 'x' WHERE episode = 21 AND turn = 0", 21),
        ("DELETE FROM turns WHERE episode = 5 AND turn = 1", 5),
        ("DELETE FROM episodes WHERE id = 40", 40),
        ("UPDATE fingerprint SET value = '2.0' WHERE name = 'temperature'", 1),
    ],
)
def test_a_changed_row_is_told(path: Path, statement: str, number: int) -> None:
    with pytest.raises(ValueStoreError, match=rf"is damaged: its episode {number} has changed since it was stored; "
                                              "restore it from a checkpoint"):  # fmt: skip
        ValueStore(changed(path, statement), FINGERPRINT)


def test_a_flipped_bit_is_told_or_changes_nothing_that_is_read(path: Path, tmp_path: Path) -> None:
    """Every 29th byte of the file; many of them lie in pages that are not full."""
    whole, flipped, refused = path.read_bytes(), tmp_path / "flipped.sqlite", 0
    for place in range(0, len(whole), 29):
        flipped.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            ValueStore(flipped, None).close()
        except ValueStoreError:
            refused += 1
        else:
            assert contents(flipped) == contents(path), place
        for rest in tmp_path.glob("flipped.sqlite*"):
            rest.unlink()
    assert refused > 150


def test_merged_episodes_have_checksums_too(path: Path, tmp_path: Path) -> None:
    with ValueStore(tmp_path / "other.sqlite", FINGERPRINT) as store:
        store.add([episode(1, 99)])
        assert store.merge(path) == 40
    ValueStore(tmp_path / "other.sqlite", FINGERPRINT).close()
    with pytest.raises(ValueStoreError, match="episode 41 has changed"):
        ValueStore(changed(tmp_path / "other.sqlite", "UPDATE turns SET valid = 7 WHERE episode = 41"), None)


def test_a_store_of_an_earlier_version_is_read_and_filled_further(path: Path) -> None:
    with ValueStore(changed(path, "DROP TABLE checksums"), FINGERPRINT) as store:
        assert len(store.returns()) == 20
        store.add([episode(30, 1)])
    ValueStore(path, FINGERPRINT).close()
    with pytest.raises(ValueStoreError, match="episode 41 has changed"):
        ValueStore(changed(path, "UPDATE episodes SET total_return = 2.0 WHERE id = 41"), FINGERPRINT)
