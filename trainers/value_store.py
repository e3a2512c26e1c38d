"""The value store: every reference episode of stage 1, kept raw in one SQLite file.

Values are cheap to compute and depend on the temperature and the estimator; episodes are what costs. So the store keeps
returns and turns, never values, and any estimate can be made anew. A store belongs to one set-up, named by its
fingerprint (reference weights, tokenizer, chat format, temperature, environment, reward, turn limit): opening it with
another one is an error, because its samples would answer a different question.
"""

from __future__ import annotations

import math
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from turngym.agents.episode import Episode
from turngym.trainers.explorer_store import ExplorerEpisodes
from turngym.trainers.value_rows import (
    MERGE_EPISODES,
    MERGE_TURNS,
    STORED_TURN,
    TABLES,
    StoredStart,
    StoredTurn,
    StoreSummary,
    check_episode,
    stored_turn,
    transaction,
    turn_rows,
)

SCHEMA = 2
APPLICATION_ID = 0x74676D76
"""Written into the file's header ("tgmv"), so that a database of another program is recognised."""


class ValueStoreError(ValueError):
    """The file cannot be used as a value store."""


class ValueStoreMismatch(ValueStoreError):
    """The store holds samples of another set-up."""


class ValueStore:
    """Reference episodes on disk, for one set-up.

    Use it as a context manager, or call `close`. Stopping at any moment, `kill -9` included, loses at most the batch
    being added; adding it again continues where it stopped.

    Args:
        path: The SQLite file; it and its folder are created where absent.
        fingerprint: Names and values of everything the samples depend on; None takes a store as it is, and its own.

    Raises:
        ValueStoreMismatch: The file belongs to another set-up; the message names each difference.
        ValueStoreError: The file is damaged, of another program or of another schema; or absent, without a fingerprint.
    """

    def __init__(self, path: str | Path, fingerprint: Mapping[str, str] | None) -> None:
        self.path = Path(path)
        if fingerprint is None and not self.path.is_file():
            raise ValueStoreError(f"there is no value store {self.path}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Autocommit: `transaction` says where a transaction begins and ends.
            self._database = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        except sqlite3.Error as error:
            raise ValueStoreError(f"the value store {self.path} cannot be opened: {error}") from error
        self.explorers = ExplorerEpisodes(self._database)
        """The episodes of other behaviours, which no other method but `merge` reads."""
        try:
            self.fingerprint = self._open(fingerprint)
        except sqlite3.Error as error:
            self._database.close()
            raise ValueStoreError(
                f"{self.path} is not a usable value store ({error}); "
                "move it away to sample the reference anew, or restore it from a checkpoint"
            ) from error
        except ValueStoreError:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def close(self) -> None:
        """Close the file; the store cannot be used after."""
        self._database.close()

    def add(self, episodes: Iterable[Episode]) -> int:
        """Store reference episodes, all of them or, on an error, none.

        An episode already held, by split, instance and seed, is left as it is.

        Returns:
            How many were new.

        Raises:
            ValueError: An episode ended in an error, so that its return says nothing about the reference policy, or
                holds a reward that is not finite or a seed beyond 63 bits.
        """
        batch = list(episodes)
        for episode in batch:
            check_episode(episode)
        with transaction(self._database):
            return sum(self._insert(episode) for episode in batch)

    def merge(self, path: str | Path) -> int:
        """Take over the episodes of another store of the same set-up, such as another process has filled.

        Episodes held already, by split, instance and seed, are left as they are; the others are numbered on. Explorers'
        episodes come along. All are taken or, on an error, none.

        Returns:
            How many were new.

        Raises:
            ValueStoreMismatch: The other store belongs to another set-up; the message names each difference.
            ValueStoreError: The other file is absent or unusable.
        """
        if not Path(path).is_file():
            raise ValueStoreError(f"there is no value store {path} to merge")
        if self.path.samefile(path):  # it would wait for its own lock
            return 0
        ValueStore(path, self.fingerprint).close()
        self._database.execute("ATTACH DATABASE ? AS other", (str(path),))
        try:
            with transaction(self._database):
                (last,) = self._database.execute("SELECT COALESCE(MAX(id), 0) FROM episodes").fetchone()
                self._database.execute(MERGE_EPISODES)
                self._database.execute(MERGE_TURNS, (last,))
                (added,) = self._database.execute("SELECT COUNT(*) FROM episodes WHERE id > ?", (last,)).fetchone()
                explored = self.explorers.merge_attached()
        finally:
            self._database.execute("DETACH DATABASE other")
        return int(added) + explored

    def returns(self, split: str = "train") -> dict[int, list[float]]:
        """Return the returns of every instance, in ascending order of instance and sample, to the last bit."""
        rows = self._database.execute(
            "SELECT instance, total_return FROM episodes WHERE split = ? ORDER BY instance, sample", (split,)
        )
        returns: dict[int, list[float]] = {}
        for index, total in rows:
            returns.setdefault(index, []).append(total)
        return returns

    def counts(self, split: str = "train") -> dict[int, int]:
        """Return how many episodes of every instance are held."""
        query = "SELECT instance, COUNT(*) FROM episodes WHERE split = ? GROUP BY instance ORDER BY instance"
        return dict(self._database.execute(query, (split,)))

    def success_rates(self, split: str = "train") -> dict[int, float]:
        """Return the share of solved episodes of every instance."""
        query = "SELECT instance, AVG(success) FROM episodes WHERE split = ? GROUP BY instance ORDER BY instance"
        return dict(self._database.execute(query, (split,)))

    def starts(self, split: str = "train") -> Iterator[StoredStart]:
        """Yield the start of every instance with the share of its episodes that were solved, in ascending order."""
        rows = self._database.execute(
            "SELECT instance, MIN(potential), AVG(success) FROM turns JOIN episodes ON episode = id "
            "WHERE split = ? AND turn = 0 GROUP BY instance ORDER BY instance",
            (split,),
        )
        for instance, potential, success in rows:
            yield StoredStart(instance=instance, potential=potential, success=success)

    def turns(self, index: int | None = None, split: str = "train") -> Iterator[StoredTurn]:
        """Yield the turns of an instance's episodes, or of all, in order of instance, sample and turn."""
        rows = self._database.execute(
            f"SELECT {STORED_TURN} FROM turns JOIN episodes ON episode = id "  # noqa: S608 - names of columns
            "WHERE split = ? AND instance = COALESCE(?, instance) ORDER BY instance, sample, turn",
            (split, index),
        )
        yield from map(stored_turn, rows)

    def episodes(self, split: str = "train") -> Iterator[Episode]:
        """Yield the episodes as they were played, tokens and all, in order of instance and sample."""
        rows = self._database.execute("SELECT record FROM episodes WHERE split = ? ORDER BY instance, sample", (split,))
        for (record,) in rows:
            yield Episode.from_json(zlib.decompress(record))

    def summary(self, split: str = "train") -> StoreSummary:
        """Return what the store holds of a split, for a table or a log."""
        episodes, instances, tokens, mean_return, success_rate = self._database.execute(
            "SELECT COUNT(*), COUNT(DISTINCT instance), COALESCE(SUM(num_tokens), 0), AVG(total_return), AVG(success) "
            "FROM episodes WHERE split = ?",
            (split,),
        ).fetchone()
        (turns,) = self._database.execute(
            "SELECT COUNT(*) FROM turns JOIN episodes ON episode = id WHERE split = ?", (split,)
        ).fetchone()
        return StoreSummary(
            episodes=episodes,
            instances=instances,
            turns=turns,
            tokens=tokens,
            mean_return=math.nan if mean_return is None else mean_return,
            success_rate=math.nan if success_rate is None else success_rate,
        )

    def _open(self, fingerprint: Mapping[str, str] | None) -> dict[str, str]:
        """Create the tables in an empty file; otherwise make sure that the file is ours, whole and of this set-up."""
        if fingerprint is not None:
            with transaction(self._database):
                if self._database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,):
                    self._create(fingerprint)
        self._check_file()
        stored = dict(self._database.execute("SELECT name, value FROM fingerprint"))
        if fingerprint is not None:
            self._check_fingerprint(stored, fingerprint)
        # A log beside the file keeps readers and a killed writer apart. Losing power may lose the last batches, never
        # the file, and a lost batch is simply sampled again; so the log need not reach the disk at every commit.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        return stored

    def _create(self, fingerprint: Mapping[str, str]) -> None:
        for statement in filter(str.strip, TABLES.split(";")):
            self._database.execute(statement)
        self._database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._database.execute(f"PRAGMA user_version = {SCHEMA}")
        self._database.executemany("INSERT INTO fingerprint VALUES (?, ?)", fingerprint.items())

    def _check_file(self) -> None:
        if self._pragma("application_id") != APPLICATION_ID:
            raise ValueStoreError(f"{self.path} is a database of another program, not a value store; give another path")
        schema = self._pragma("user_version")
        if schema != SCHEMA:
            raise ValueStoreError(
                f"{self.path} has schema {schema}, this version reads {SCHEMA}; give another path to sample anew"
            )
        verdict = self._pragma("quick_check(1)")
        if verdict != "ok":
            raise ValueStoreError(f"the value store {self.path} is damaged ({verdict}); restore it from a checkpoint")

    def _check_fingerprint(self, stored: Mapping[str, str], here: Mapping[str, str]) -> None:
        differences = [
            f"{name} is {stored.get(name, '(absent)')!r} in the store, {here.get(name, '(absent)')!r} here"
            for name in sorted(stored.keys() | here.keys())
            if stored.get(name) != here.get(name)
        ]
        if differences:
            raise ValueStoreMismatch(
                f"the value store {self.path} holds samples of another set-up: {'; '.join(differences)}. "
                "Go back to those settings, or give another path to sample the reference anew"
            )

    def _insert(self, episode: Episode) -> bool:
        """Store one episode and return whether it is new."""
        (sample,) = self._database.execute(
            "SELECT COUNT(*) FROM episodes WHERE split = ? AND instance = ?", (episode.split, int(episode.index))
        ).fetchone()
        cursor = self._database.execute(
            "INSERT INTO episodes (split, instance, sample, seed, total_return, success, num_tokens, status, record) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (split, instance, seed) DO NOTHING",
            (
                episode.split,
                int(episode.index),
                sample,
                int(episode.seed),
                float(episode.total_reward),
                bool(episode.success),
                len(episode.token_ids),
                str(episode.status),
                zlib.compress(episode.to_json().encode("ascii")),
            ),
        )
        if cursor.rowcount == 0:
            return False
        self._database.executemany(
            "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?)", turn_rows(cursor.lastrowid, episode)
        )
        return True

    def _pragma(self, name: str) -> Any:
        return self._database.execute(f"PRAGMA {name}").fetchone()[0]
