"""The value store: every episode of stage 1 in one SQLite file.

Values are cheap to compute and depend on the temperature and the estimator; episodes are expensive. So the store keeps
returns and turns, never values, and any estimate can be made from it again. A store belongs to one set-up, described by
its fingerprint (reference weights, tokenizer, chat format, temperature, environment, reward, turn limit). Opening it
with another one is an error, since its episodes follow another distribution. Explorers may play for it as well, each
under a name of its own; all methods read the reference's episodes unless they are asked for a name.
"""

from __future__ import annotations

import math
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from turngym.agents.episode import Episode
from turngym.trainers.stage_one.store_checksums import add_checksums
from turngym.trainers.stage_one.store_file import ValueStoreError, ValueStoreMismatch, differences, open_database
from turngym.trainers.stage_one.store_rows import (
    INSERT_EPISODE,
    INSERT_TURN,
    MERGE_EPISODES,
    MERGE_TURNS,
    REFERENCE,
    STORED_TURN,
    WHOLE,
    StoredTurn,
    StoreSummary,
    check_episode,
    reply_log_ratios,
    stored_turn,
    transaction,
    turn_rows,
)


class ValueStore:
    """Episodes on disk, for one set-up.

    Use it as a context manager, or call `close`. Stopping at any moment, `kill -9` included, loses at most the batch
    being added; adding it again continues where it stopped.

    Args:
        path: The SQLite file; it and its folder are created where absent.
        fingerprint: Names and values of everything the episodes depend on; None opens a store with the fingerprint that
            it has.

    Raises:
        ValueStoreMismatch: The file belongs to another set-up; the message names each difference.
        ValueStoreError: The file is damaged, of another program or of another schema; or absent, without a fingerprint.
    """

    def __init__(self, path: str | Path, fingerprint: Mapping[str, str] | None) -> None:
        self.path = Path(path)
        self._database, self.fingerprint = open_database(self.path, fingerprint)

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

    def add(
        self,
        episodes: Iterable[Episode],
        behaviour: str = REFERENCE,
        ref_logprobs: Sequence[Sequence[float]] | None = None,
        *,
        scripted: bool = False,
        whole: bool = False,
    ) -> int:
        """Store episodes of one behaviour, all of them or, on an error, none.

        An episode already held, by behaviour, split, instance and seed, is left as it is.

        Args:
            episodes: Those of an explorer are recorded with the sampler's log-probabilities.
            behaviour: Who played: the reference, or any name that stands for one policy.
            ref_logprobs: For each episode of an explorer the reference's log-probability of each of its replies, nats.
            scripted: Whether it has no probabilities, so that there are no `ref_logprobs` either. Its turns tell what
                replies lead to, and count nothing in how likely the reference gives them.
            whole: Whether to keep the episodes themselves as well, with their tokens, for `episodes`.

        Returns:
            How many were new.

        Raises:
            ValueError: An episode ended in an error, so that its return says nothing about the policy, or holds a
                reward that is not finite or a seed beyond 63 bits; an explorer's log-probability is missing or not
                finite; the reference comes with log-probabilities, or an explorer without.
        """
        if behaviour == REFERENCE and (scripted or ref_logprobs is not None):
            raise ValueError(f"{REFERENCE!r} is no explorer; add its episodes without ref_logprobs")
        if scripted and ref_logprobs is not None:
            raise ValueError(f"{behaviour!r} is scripted; add its episodes without ref_logprobs")
        if behaviour != REFERENCE and not scripted and ref_logprobs is None:
            raise ValueError(
                f"{behaviour!r} is not the reference; say with ref_logprobs how likely its replies were to it, or that "
                "it is scripted"
            )
        batch = list(episodes)
        for episode in batch:
            check_episode(episode)
        if ref_logprobs is None:
            ratios = [[-math.inf if scripted else 0.0] * len(episode.turns) for episode in batch]
        else:
            ratios = [reply_log_ratios(*pair) for pair in zip(batch, ref_logprobs, strict=True)]
        with transaction(self._database):
            first = self._next_number()
            if whole:
                self._database.execute(WHOLE)
            added = sum(self._insert(behaviour, *pair, whole=whole) for pair in zip(batch, ratios, strict=True))
            add_checksums(self._database, self.fingerprint, first)
        return added

    def merge(self, path: str | Path) -> int:
        """Take over the episodes of another store of the same set-up, such as a run with another seed has filled.

        Episodes held already, by behaviour, split, instance and seed, are left as they are; the others are numbered on.
        Of what was kept beside their rows for `whole_episodes` nothing is taken.
        All are taken or, on an error, none.

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
        with ValueStore(path, None) as other:
            unlike = differences(other.fingerprint, self.fingerprint, "there")
        if unlike:
            raise ValueStoreMismatch(f"{path} cannot be merged, its samples are of another set-up: {unlike}")
        self._database.execute("ATTACH DATABASE ? AS other", (str(path),))
        try:
            with transaction(self._database):
                first = self._next_number()
                self._database.execute(MERGE_EPISODES)
                self._database.execute(MERGE_TURNS, (first,))
                add_checksums(self._database, self.fingerprint, first)
                (added,) = self._database.execute("SELECT COUNT(*) FROM episodes WHERE id >= ?", (first,)).fetchone()
        finally:
            self._database.execute("DETACH DATABASE other")
        return int(added)

    def behaviours(self, split: str = "train") -> list[str]:
        """Return who has played, the reference first."""
        query = "SELECT DISTINCT behaviour FROM episodes WHERE split = ? ORDER BY behaviour != ?, behaviour"
        return [name for (name,) in self._database.execute(query, (split, REFERENCE))]

    def sampled_tokens(self) -> int:
        """Return how many tokens agents have sampled, in the episodes of all behaviours and splits."""
        return int(self._database.execute("SELECT COALESCE(SUM(num_sampled), 0) FROM episodes").fetchone()[0])

    def returns(self, split: str = "train") -> dict[int, list[float]]:
        """Return the reference's returns of every instance, ordered by instance and sample, to the last bit."""
        rows = self._database.execute(
            "SELECT instance, total_return FROM episodes WHERE behaviour = ? AND split = ? ORDER BY instance, sample",
            (REFERENCE, split),
        )
        returns: dict[int, list[float]] = {}
        for index, total in rows:
            returns.setdefault(index, []).append(total)
        return returns

    def counts(self, split: str = "train", behaviour: str = REFERENCE) -> dict[int, int]:
        """Return how many episodes of every instance a behaviour has played."""
        return dict(self._by_instance("COUNT(*)", behaviour, split))

    def success_rates(self, split: str = "train") -> dict[int, float]:
        """Return the share of every instance's episodes that the reference solved."""
        return dict(self._by_instance("AVG(success)", REFERENCE, split))

    def turns(
        self, index: int | None = None, split: str = "train", behaviour: str | None = REFERENCE
    ) -> Iterator[StoredTurn]:
        """Yield the turns of an instance's episodes, or of all, in order of instance, behaviour, sample and turn.

        Args:
            index: The instance; None for all.
            split: Its split.
            behaviour: Who played; None for all, the reference's turns before those of the others.
        """
        rows = self._database.execute(
            f"SELECT {STORED_TURN} FROM turns JOIN episodes ON episode = id "  # noqa: S608 - names of columns
            "WHERE split = ? AND instance = COALESCE(?, instance) AND behaviour = COALESCE(?, behaviour) "
            "ORDER BY behaviour != ?, instance, behaviour, sample, turn",
            (split, index, behaviour, REFERENCE),
        )
        yield from map(stored_turn, rows)

    def whole_episodes(self) -> list[int]:
        """Return the numbers of the episodes that were kept as they are, in the order in which they were stored."""
        if self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'whole_episodes'").fetchone() is None:
            return []
        return [number for (number,) in self._database.execute("SELECT episode FROM whole_episodes ORDER BY episode")]

    def whole_episode(self, number: int) -> Episode:
        """Return an episode of `whole_episodes` as it was added.

        Raises:
            ValueStoreError: It is damaged.
        """
        (line,) = self._database.execute("SELECT line FROM whole_episodes WHERE episode = ?", (number,)).fetchone()
        try:
            return Episode.from_json(zlib.decompress(line))
        except (zlib.error, ValueError) as error:
            raise ValueStoreError(f"the value store {self.path} is damaged: its episode {number} cannot be read; "
                                  "restore it from a checkpoint") from error  # fmt: skip

    def summary(self, split: str = "train", behaviour: str = REFERENCE) -> StoreSummary:
        """Return what the store holds of a split by a behaviour, for a table or a log."""
        episodes, instances, tokens, mean_return, success_rate = self._database.execute(
            "SELECT COUNT(*), COUNT(DISTINCT instance), COALESCE(SUM(num_tokens), 0), AVG(total_return), AVG(success) "
            "FROM episodes WHERE behaviour = ? AND split = ?",
            (behaviour, split),
        ).fetchone()
        turns, task_return = self._database.execute(
            "SELECT COUNT(*), COALESCE(SUM(task_reward), 0.0) FROM turns JOIN episodes ON episode = id "
            "WHERE behaviour = ? AND split = ?",
            (behaviour, split),
        ).fetchone()
        return StoreSummary(
            episodes=episodes,
            instances=instances,
            turns=turns,
            tokens=tokens,
            mean_return=math.nan if mean_return is None else mean_return,
            mean_task_return=task_return / episodes if episodes else math.nan,
            success_rate=math.nan if success_rate is None else success_rate,
        )

    def _next_number(self) -> int:
        """Return the number that the next episode gets."""
        return int(self._database.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM episodes").fetchone()[0])

    def _by_instance(self, figure: str, behaviour: str, split: str) -> sqlite3.Cursor:
        return self._database.execute(
            f"SELECT instance, {figure} FROM episodes "  # noqa: S608 - aggregates of columns
            "WHERE behaviour = ? AND split = ? GROUP BY instance ORDER BY instance",
            (behaviour, split),
        )

    def _insert(self, behaviour: str, episode: Episode, log_ratios: Sequence[float], *, whole: bool) -> bool:
        """Store one episode and return whether it is new."""
        place = (behaviour, episode.split, int(episode.index))
        (sample,) = self._database.execute(
            "SELECT COUNT(*) FROM episodes WHERE behaviour = ? AND split = ? AND instance = ?", place
        ).fetchone()
        cursor = self._database.execute(
            INSERT_EPISODE,
            (
                *place,
                sample,
                int(episode.seed),
                float(episode.total_reward),
                bool(episode.success),
                len(episode.token_ids),
                episode.num_sampled,
                str(episode.status),
            ),
        )
        if cursor.rowcount == 0:
            return False
        self._database.executemany(INSERT_TURN, turn_rows(cursor.lastrowid, episode, log_ratios))
        if whole:
            line = zlib.compress(episode.to_json().encode("utf-8", "surrogatepass"))
            self._database.execute("INSERT INTO whole_episodes VALUES (?, ?)", (cursor.lastrowid, line))
        return True
