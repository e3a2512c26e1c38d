"""The tables of a value store, the rows of an episode in them, and transactions."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from turngym.agents.episode import Episode

TABLES = """
CREATE TABLE fingerprint (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE episodes (
    id INTEGER PRIMARY KEY,
    behaviour TEXT NOT NULL,
    split TEXT NOT NULL,
    instance INTEGER NOT NULL,
    sample INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    total_return REAL NOT NULL,
    success INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL,
    num_sampled INTEGER NOT NULL,
    status TEXT NOT NULL,
    UNIQUE (behaviour, split, instance, seed),
    UNIQUE (behaviour, split, instance, sample)
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
    log_ratio REAL NOT NULL,
    PRIMARY KEY (episode, turn)
) WITHOUT ROWID;
"""

WHOLE = "CREATE TABLE IF NOT EXISTS whole_episodes (episode INTEGER PRIMARY KEY, line BLOB NOT NULL)"
"""The table of episodes as JSON, compressed, which brings a checksum; only in stores of runs that replay them."""
REFERENCE = "reference"
"""The behaviour of the reference at its own temperature."""
STORED_TURN = "instance, sample, turn, state_key, action, reward, task_reward, valid, potential, behaviour, log_ratio"
"""The columns that `stored_turn` reads, in its order."""

_PLAYED = "behaviour, split, instance"
_RECORDED = "seed, total_return, success, num_tokens, num_sampled, status"
INSERT_EPISODE = f"""
INSERT INTO episodes ({_PLAYED}, sample, {_RECORDED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT ({_PLAYED}, seed) DO NOTHING
"""  # noqa: S608 - names of columns
INSERT_TURN = "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SAME_INSTANCE = "held.behaviour = new.behaviour AND held.split = new.split AND held.instance = new.instance"
MERGE_EPISODES = f"""
INSERT INTO episodes ({_PLAYED}, sample, {_RECORDED})
SELECT {_PLAYED},
    (SELECT COUNT(*) FROM main.episodes AS held WHERE {_SAME_INSTANCE})
        + ROW_NUMBER() OVER (PARTITION BY {_PLAYED} ORDER BY sample) - 1,
    {_RECORDED}
FROM other.episodes AS new
WHERE NOT EXISTS (SELECT 1 FROM main.episodes AS held WHERE {_SAME_INSTANCE} AND held.seed = new.seed)
ORDER BY new.id
"""  # noqa: S608 - names of columns
MERGE_TURNS = f"""
INSERT INTO turns
SELECT held.id, turn, state_key, action, reward, task_reward, valid, potential, log_ratio
FROM main.episodes AS held
JOIN other.episodes AS new ON {_SAME_INSTANCE} AND held.seed = new.seed
JOIN other.turns ON other.turns.episode = new.id
WHERE held.id >= ?
"""  # noqa: S608 - names of columns


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
    """Log-probability of the reply under the reference at its own temperature, less that under who gave it, nats; minus
    infinity where a script gave it, so that it has no weight in the odds of the reference's replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSummary:
    """What a store holds of one split by one behaviour."""

    episodes: int
    """Episodes."""
    instances: int
    """Different instances among them."""
    turns: int
    """Turns of all episodes."""
    tokens: int
    """Token ids of all episodes, those of the environment included."""
    mean_return: float
    """Mean return of an episode, shaping included; nan without episodes."""
    mean_task_return: float
    """Mean return of the task alone; nan without episodes."""
    success_rate: float
    """Share of episodes that solved their task; nan without episodes."""


def _name(episode: Episode) -> str:
    return f"episode of instance {episode.index} ({episode.split}) with seed {episode.seed}"


def check_episode(episode: Episode) -> None:
    """Check that an episode can be stored: it ended without an error, and all its numbers are finite.

    Raises:
        ValueError: It ended in an error, or holds a reward that is not finite or a seed beyond 63 bits.
    """
    name = _name(episode)
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


def reply_log_ratios(episode: Episode, ref_logprobs: Sequence[float]) -> list[float]:
    """Return the log-probability of each reply under the reference, less that under who gave it, nats.

    Args:
        episode: Recorded with the sampler's log-probabilities.
        ref_logprobs: The reference's log-probability of each reply, nats.

    Raises:
        ValueError: A log-probability is missing or not finite.
    """
    if not all(turn.logprobs for turn in episode.turns):
        raise ValueError(f"{_name(episode)} has a reply without log-probabilities; explorers must be sampled from a "
                         "model")  # fmt: skip
    ratios = [float(score) - sum(turn.logprobs) for turn, score in zip(episode.turns, ref_logprobs, strict=True)]
    if not all(map(math.isfinite, ratios)):
        raise ValueError(f"{_name(episode)} has a log-probability that is not finite")
    return ratios


def turn_rows(episode_id: int | None, episode: Episode, log_ratios: Sequence[float]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of an episode in the table of turns."""
    for number, (turn, log_ratio) in enumerate(zip(episode.turns, log_ratios, strict=True)):
        yield (
            episode_id,
            number,
            _storable(turn.state_key),
            _storable(turn.action),
            float(turn.reward),
            float(turn.task_reward),
            bool(turn.valid),
            float(turn.potential),
            log_ratio,
        )


def _storable(text: str) -> str:
    """Write lone surrogates, which UTF-8 has no bytes for, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def stored_turn(row: tuple[Any, ...]) -> StoredTurn:
    """Return a turn from the columns `STORED_TURN`."""
    instance, sample, turn, state_key, action, reward, task_reward, valid, potential, behaviour, log_ratio = row
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
    """Keep all changes made within or, on an error, none."""
    # IMMEDIATE takes the write lock at once, so that sample numbers are counted and used under one lock.
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # a full disk has already rolled back
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
