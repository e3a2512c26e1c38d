"""What a value store is made of: its tables, the rows of an episode, what is read back from them, and transactions."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from turngym.agents.episode import Episode

TABLES = """
CREATE TABLE fingerprint (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE episodes (
    id INTEGER PRIMARY KEY,
    split TEXT NOT NULL,
    instance INTEGER NOT NULL,
    sample INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    total_return REAL NOT NULL,
    success INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL,
    status TEXT NOT NULL,
    record BLOB NOT NULL,
    UNIQUE (split, instance, seed),
    UNIQUE (split, instance, sample)
);
CREATE TABLE turns (
    episode INTEGER NOT NULL REFERENCES episodes (id),
    turn INTEGER NOT NULL,
    state_key TEXT NOT NULL,
    action TEXT NOT NULL,
    reward REAL NOT NULL,
    task_reward REAL NOT NULL,
    valid INTEGER NOT NULL,
    potential REAL NOT NULL,
    PRIMARY KEY (episode, turn)
) WITHOUT ROWID;
"""

REFERENCE = "reference"
"""The behaviour of the reference at its own temperature."""
STORED_TURN = "instance, sample, turn, state_key, action, reward, task_reward, valid, potential"
"""The columns that `stored_turn` reads, in its order."""

MERGE_EPISODES = """
INSERT INTO episodes (split, instance, sample, seed, total_return, success, num_tokens, status, record)
SELECT split, instance,
    (SELECT COUNT(*) FROM main.episodes AS held WHERE held.split = new.split AND held.instance = new.instance)
        + ROW_NUMBER() OVER (PARTITION BY split, instance ORDER BY sample) - 1,
    seed, total_return, success, num_tokens, status, record
FROM other.episodes AS new
WHERE NOT EXISTS (SELECT 1 FROM main.episodes AS held
    WHERE held.split = new.split AND held.instance = new.instance AND held.seed = new.seed)
ORDER BY new.id
"""
MERGE_TURNS = """
INSERT INTO turns
SELECT mine.id, turn, state_key, action, reward, task_reward, valid, potential
FROM main.episodes AS mine
JOIN other.episodes AS new
    ON mine.split = new.split AND mine.instance = new.instance AND mine.seed = new.seed
JOIN other.turns ON other.turns.episode = new.id
WHERE mine.id > ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTurn:
    """One turn of a stored episode."""

    instance: int
    """The instance that was played."""
    sample: int
    """Which of the instance's episodes by the same behaviour, from 0."""
    turn: int
    """Which turn of the episode, from 0."""
    state_key: str
    """The Markov state before the reply."""
    action: str
    """The reply."""
    reward: float
    """The reward, shaping included."""
    task_reward: float
    """The unshaped reward."""
    valid: bool
    """Whether the environment could use the reply."""
    potential: float
    """The environment's potential before the reply."""
    behaviour: str = REFERENCE
    """Who played."""
    log_ratio: float = 0.0
    """Log-probability of the reply under the reference at its own temperature, less that under who gave it, nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStart:
    """Where the episodes of an instance begin, and how they end."""

    instance: int
    """The instance that was played."""
    potential: float
    """The environment's potential at the start."""
    success: float
    """Share of the instance's episodes that solved it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSummary:
    """What a store holds of one split."""

    episodes: int
    """Reference episodes."""
    instances: int
    """Different instances among them."""
    turns: int
    """Turns of all episodes."""
    tokens: int
    """Token ids of all episodes, those of the environment included."""
    mean_return: float
    """Mean return of an episode, shaping included; nan without episodes."""
    success_rate: float
    """Share of episodes that solved their task; nan without episodes."""


def check_episode(episode: Episode) -> None:
    """Refuse an episode that says nothing about the policy.

    Raises:
        ValueError: It ended in an error, or holds a reward that is not finite or a seed beyond 63 bits.
    """
    name = f"episode of instance {episode.index} ({episode.split}) with seed {episode.seed}"
    if episode.status.is_error():
        raise ValueError(
            f"{name} ended in {episode.status}: {episode.error or 'no reason given'}; "
            "it is no failure of the policy and cannot be stored, leave it out"
        )
    rewards = [number for turn in episode.turns for number in (turn.reward, turn.task_reward, turn.potential)]
    if not all(math.isfinite(number) for number in rewards):
        raise ValueError(f"{name} has a reward or potential that is not finite")
    if not 0 <= episode.seed < 2**63:
        raise ValueError(f"{name}: a seed must lie in [0, 2**63)")


def turn_rows(episode_id: int | None, episode: Episode) -> Iterator[tuple[object, ...]]:
    """Yield the rows of an episode in the table of turns."""
    for number, turn in enumerate(episode.turns):
        yield (
            episode_id,
            number,
            _storable(turn.state_key),
            _storable(turn.action),
            float(turn.reward),
            float(turn.task_reward),
            bool(turn.valid),
            float(turn.potential),
        )


def _storable(text: str) -> str:
    """Write lone surrogates, which UTF-8 has no bytes for, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def stored_turn(row: tuple[Any, ...]) -> StoredTurn:
    """Return a turn from the columns `STORED_TURN`, and of an explorer's turn its behaviour and log-ratio."""
    instance, sample, turn, state_key, action, reward, task_reward, valid, potential, *of_explorer = row
    behaviour, log_ratio = of_explorer or (REFERENCE, 0.0)
    return StoredTurn(
        instance=instance,
        sample=sample,
        turn=turn,
        state_key=state_key,
        action=action,
        reward=reward,
        task_reward=task_reward,
        valid=bool(valid),
        potential=potential,
        behaviour=behaviour,
        log_ratio=log_ratio,
    )


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Keep all changes or, on an error, none."""
    # IMMEDIATE takes the write lock at once, so that sample numbers are counted and used under one lock.
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # a full disk has already rolled back
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
