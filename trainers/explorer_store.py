"""The explorers' part of a value store: episodes of other behaviours than the reference, in tables of their own.

Apart from the reference's, so that what asks for those never meets an explorer's; and made with the first episode, so
that a store without explorers is as it always was.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from turngym.agents.episode import Episode
from turngym.trainers.value_rows import (
    REFERENCE,
    STORED_TURN,
    StoredTurn,
    check_episode,
    stored_turn,
    transaction,
    turn_rows,
)

_TABLES = """
CREATE TABLE IF NOT EXISTS explorer_episodes (
    id INTEGER PRIMARY KEY,
    behaviour TEXT NOT NULL,
    split TEXT NOT NULL,
    instance INTEGER NOT NULL,
    sample INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    total_return REAL NOT NULL,
    success INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL,
    status TEXT NOT NULL,
    UNIQUE (behaviour, split, instance, seed),
    UNIQUE (behaviour, split, instance, sample)
);
CREATE TABLE IF NOT EXISTS explorer_turns (
    episode INTEGER NOT NULL REFERENCES explorer_episodes (id),
    turn INTEGER NOT NULL,
    state_key TEXT NOT NULL,
    action TEXT NOT NULL,
    reward REAL NOT NULL,
    task_reward REAL NOT NULL,
    valid INTEGER NOT NULL,
    potential REAL NOT NULL,
    logprob REAL NOT NULL,
    ref_logprob REAL NOT NULL,
    PRIMARY KEY (episode, turn)
) WITHOUT ROWID;
"""

_MERGE_EPISODES = """
INSERT INTO explorer_episodes
    (behaviour, split, instance, sample, seed, total_return, success, num_tokens, status)
SELECT behaviour, split, instance,
    (SELECT COUNT(*) FROM main.explorer_episodes AS held
        WHERE held.behaviour = new.behaviour AND held.split = new.split AND held.instance = new.instance)
        + ROW_NUMBER() OVER (PARTITION BY behaviour, split, instance ORDER BY sample) - 1,
    seed, total_return, success, num_tokens, status
FROM other.explorer_episodes AS new
WHERE NOT EXISTS (SELECT 1 FROM main.explorer_episodes AS held
    WHERE held.behaviour = new.behaviour AND held.split = new.split AND held.instance = new.instance
        AND held.seed = new.seed)
ORDER BY new.id
"""
_MERGE_TURNS = """
INSERT INTO explorer_turns
SELECT mine.id, turn, state_key, action, reward, task_reward, valid, potential, logprob, ref_logprob
FROM main.explorer_episodes AS mine
JOIN other.explorer_episodes AS new
    ON mine.behaviour = new.behaviour AND mine.split = new.split AND mine.instance = new.instance
        AND mine.seed = new.seed
JOIN other.explorer_turns ON other.explorer_turns.episode = new.id
WHERE mine.id > ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourSummary:
    """What a store holds of one behaviour."""

    episodes: int
    """Episodes."""
    success_rate: float
    """Share of them that solved their task."""


class ExplorerEpisodes:
    """Episodes of explorers in the file of a value store; a `ValueStore` has one as `explorers`.

    Args:
        database: The open file, in autocommit.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def add(self, behaviour: str, episodes: Sequence[Episode], ref_logprobs: Sequence[Sequence[float]]) -> int:
        """Store episodes of one behaviour, all of them or, on an error, none.

        An episode already held, by behaviour, split, instance and seed, is left as it is.

        Args:
            behaviour: Who played: any name that stands for one policy.
            episodes: Recorded with the sampler's log-probabilities.
            ref_logprobs: For each episode the reference's log-probability of each of its replies, nats.

        Returns:
            How many were new.

        Raises:
            ValueError: The behaviour is the reference itself; an episode ended in an error, or has a reward or
                log-probability that is missing or not finite.
        """
        if behaviour == REFERENCE:
            raise ValueError(f"{REFERENCE!r} is no explorer; add its episodes to the store itself")
        logprobs = [_reply_logprobs(episode, scores) for episode, scores in zip(episodes, ref_logprobs, strict=True)]
        with transaction(self._database):
            self._create()
            return sum(map(self._insert, [behaviour] * len(logprobs), episodes, logprobs))

    def merge_attached(self) -> int:
        """Take over the explorers' episodes of the attached database `other`; return how many were new."""
        if not self._present("other"):
            return 0
        self._create()
        (last,) = self._database.execute("SELECT COALESCE(MAX(id), 0) FROM explorer_episodes").fetchone()
        self._database.execute(_MERGE_EPISODES)
        self._database.execute(_MERGE_TURNS, (last,))
        (added,) = self._database.execute("SELECT COUNT(*) FROM explorer_episodes WHERE id > ?", (last,)).fetchone()
        return int(added)

    def counts(self, behaviour: str, split: str = "train") -> dict[int, int]:
        """Return how many episodes of every instance a behaviour has played."""
        if not self._present():
            return {}
        query = (
            "SELECT instance, COUNT(*) FROM explorer_episodes WHERE behaviour = ? AND split = ? "
            "GROUP BY instance ORDER BY instance"
        )
        return dict(self._database.execute(query, (behaviour, split)))

    def summaries(self, split: str = "train") -> dict[str, BehaviourSummary]:
        """Return what is held of every behaviour, by name."""
        if not self._present():
            return {}
        query = (
            "SELECT behaviour, COUNT(*), AVG(success) FROM explorer_episodes WHERE split = ? "
            "GROUP BY behaviour ORDER BY behaviour"
        )
        rows = self._database.execute(query, (split,))
        return {name: BehaviourSummary(episodes=count, success_rate=rate) for name, count, rate in rows}

    def turns(self, index: int | None = None, split: str = "train") -> Iterator[StoredTurn]:
        """Yield the turns of an instance's episodes, or of all, in order of instance, behaviour, sample and turn."""
        if not self._present():
            return
        rows = self._database.execute(
            f"SELECT {STORED_TURN}, behaviour, ref_logprob - logprob "  # noqa: S608 - names of columns
            "FROM explorer_turns JOIN explorer_episodes ON episode = id "
            "WHERE split = ? AND instance = COALESCE(?, instance) ORDER BY instance, behaviour, sample, turn",
            (split, index),
        )
        yield from map(stored_turn, rows)

    def _present(self, database: str = "main") -> bool:
        names = self._database.execute(f"SELECT name FROM {database}.sqlite_master")  # noqa: S608 - "main" or "other"
        return ("explorer_episodes",) in names.fetchall()

    def _create(self) -> None:
        for statement in filter(str.strip, _TABLES.split(";")):
            self._database.execute(statement)

    def _insert(self, behaviour: str, episode: Episode, logprobs: Sequence[tuple[float, float]]) -> bool:
        """Store one episode and return whether it is new."""
        (sample,) = self._database.execute(
            "SELECT COUNT(*) FROM explorer_episodes WHERE behaviour = ? AND split = ? AND instance = ?",
            (behaviour, episode.split, int(episode.index)),
        ).fetchone()
        cursor = self._database.execute(
            "INSERT INTO explorer_episodes "
            "(behaviour, split, instance, sample, seed, total_return, success, num_tokens, status) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (behaviour, split, instance, seed) DO NOTHING",
            (behaviour, episode.split, int(episode.index), sample, int(episode.seed), float(episode.total_reward),
             bool(episode.success), len(episode.token_ids), str(episode.status)),
        )  # fmt: skip
        if cursor.rowcount == 0:
            return False
        rows = zip(turn_rows(cursor.lastrowid, episode), logprobs, strict=True)
        self._database.executemany(
            "INSERT INTO explorer_turns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [(*row, *pair) for row, pair in rows]
        )
        return True


def _reply_logprobs(episode: Episode, ref_logprobs: Sequence[float]) -> list[tuple[float, float]]:
    """Return the log-probability of each reply under who gave it and under the reference."""
    check_episode(episode)
    name = f"episode of instance {episode.index} ({episode.split}) with seed {episode.seed}"
    if not all(turn.logprobs for turn in episode.turns):
        raise ValueError(f"{name} has a reply without log-probabilities; explorers must be sampled from a model")
    pairs = [(sum(turn.logprobs), float(score)) for turn, score in zip(episode.turns, ref_logprobs, strict=True)]
    if not all(map(math.isfinite, (number for pair in pairs for number in pair))):
        raise ValueError(f"{name} has a log-probability that is not finite")
    return pairs
