"""The one record of play: what was seen, what was sampled, what it earned.

An episode of a language model is a stream of token ids. Ids that were sampled lie in the spans of its turns; everything
else was written by the environment or the chat format. Nothing here is ever re-tokenised. The stream is one row, which
only grew, or several, one behind the other, each of which the model saw alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from turngym.credentials import without_credentials
from turngym.strict_json import dumps

SCHEMA = 3
"""The form of a line. In lines of form 1 the messages end with the observation after the last reply, and before form 3
every episode is one row."""
READABLE = (1, 2, SCHEMA)


class Status(StrEnum):
    """How an episode ended."""

    COMPLETED = "completed"
    """The game terminated."""
    TRUNCATED_TURNS = "truncated_turns"
    """The turn limit cut it off."""
    TRUNCATED_LENGTH = "truncated_length"
    """A row of tokens reached the longest length the agent can hold."""
    ERROR_ENVIRONMENT = "error_environment"
    """The environment raised."""
    ERROR_TIMEOUT = "error_timeout"
    """The environment or the agent did not answer in time."""

    def is_error(self) -> bool:
        """Whether the episode says nothing about the policy and must not be learned from."""
        return self in (Status.ERROR_ENVIRONMENT, Status.ERROR_TIMEOUT)


@dataclass(slots=True, kw_only=True)
class Turn:
    """One exchange: an observation and the reply to it."""

    observation: str
    """What the agent saw before it replied."""
    action: str
    """The reply as text."""
    reward: float
    """The reward of this turn, shaping included."""
    task_reward: float
    """The unshaped reward of this turn."""
    state_key: str
    """The Markov state before the reply."""
    potential: float
    """The environment's potential before the reply, in [0, 1]."""
    valid: bool
    """Whether the environment could use the reply."""
    well_formed: bool = True
    """Whether the reply held one action, usable or not; lines written before this was recorded are read as true."""
    lenient: bool = False
    """Whether only the lenient reading made the reply usable; lines written before this was recorded are read as
    false."""
    cut: bool = False
    """Whether the longest reply ended it, not the agent; lines written before this was recorded are read as false."""
    span: tuple[int, int] = (0, 0)
    """Start and end of the reply's ids in the episode's stream; empty for agents without tokens."""
    forced: tuple[int, int] = (0, 0)
    """Start and end of those ids among them that were written for the agent, not sampled, so that it answers; empty
    where none were."""
    row_start: int = 0
    """Where the row begins in the stream that holds them: from there on the agent saw what it replied to."""
    logprobs: list[float] = field(default_factory=list)  # [num_sampled]
    """The sampler's log-probability of each sampled id, nats, at the sampling temperature."""
    policy_version: int = 0
    """How many optimizer steps the sampling weights had seen."""
    tokens: int = 0
    """Tokens of the reply and its thoughts as a server counted them that gives no ids; 0 otherwise."""

    @property
    def num_sampled(self) -> int:
        """How many ids the agent sampled, as far as they are here."""
        return sum(stop - start for start, stop in self.sampled())

    @property
    def num_tokens(self) -> int:
        """How many tokens the agent sampled, by their ids or as a server counted them."""
        return self.num_sampled or self.tokens

    def sampled(self) -> list[tuple[int, int]]:
        """Return the starts and ends of the sampled ids in the episode's stream: the span, without what was forced."""
        start, stop = self.forced
        return [(self.span[0], start), (stop, self.span[1])] if start < stop else [self.span]


@dataclass(slots=True, kw_only=True)
class Episode:
    """One episode from reset to its end."""

    env_id: str
    """The registered id."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments given to `gymnasium.make` beyond the registered ones."""
    split: str
    """The split of the instance."""
    index: int
    """The instance within its split."""
    seed: int
    """Seeds the environment's chance and the agent's sampling."""
    instructions: str = ""
    """The rules, as the system prompt gave them."""
    turns: list[Turn] = field(default_factory=list)
    """The exchanges, in order."""
    final_observation: str = ""
    """What the environment said to the last reply."""
    token_ids: list[int] = field(default_factory=list)  # [num_tokens]
    """All rows of a token agent, one behind the other; empty otherwise."""
    status: Status = Status.COMPLETED
    """How it ended."""
    success: bool = False
    """Whether the task was solved."""
    error: str = ""
    """What went wrong, for the two error statuses."""
    measures: dict[str, float] = field(default_factory=dict)
    """Further numbers that the environment gave at the end, such as the parts of a reward; lines written before they
    were recorded have none."""
    agent: str = ""
    """Who played and how, where the command line wrote it: what tells it from others, as JSON; empty otherwise."""

    def __post_init__(self) -> None:
        """Take the secrets out of addresses."""
        self.env_kwargs = without_credentials(self.env_kwargs)

    @property
    def total_reward(self) -> float:
        """The undiscounted return, shaping included."""
        return sum(turn.reward for turn in self.turns)

    @property
    def task_return(self) -> float:
        """The undiscounted return without shaping."""
        return sum(turn.task_reward for turn in self.turns)

    @property
    def num_sampled(self) -> int:
        """How many ids the agent sampled, as far as they are here."""
        return sum(turn.num_sampled for turn in self.turns)

    @property
    def num_tokens(self) -> int:
        """How many tokens the agent sampled, by their ids or as a server counted them."""
        return sum(turn.num_tokens for turn in self.turns)

    def rows(self) -> list[tuple[int, int]]:
        """Return where the rows of the stream begin and end, in order; there is at least one."""
        starts = sorted({0, *(turn.row_start for turn in self.turns)})
        return list(pairwise([*starts, len(self.token_ids)]))

    def masked(self, turns: Iterable[int]) -> Episode:
        """Return the episode with some of its turns, numbered from 0, without a span: read and not learned from."""
        out = set(turns)
        kept = [replace(turn, span=(0, 0), forced=(0, 0)) if number in out else turn
                for number, turn in enumerate(self.turns)]  # fmt: skip
        return replace(self, turns=kept)

    def messages(self) -> list[dict[str, str]]:
        """Return the episode as chat messages, the form that supervised fine-tuning tools read.

        A system message with the rules, if there are any, and then user and assistant in turns. The last one is the
        assistant's, since tools drop conversations that end otherwise; `final_observation` has what came after it.
        """
        messages = [{"role": "system", "content": self.instructions}] if self.instructions else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.observation})
            messages.append({"role": "assistant", "content": turn.action})
        return messages

    def texts(self) -> list[str]:
        """Return all that was said, in order: the messages and what came after them."""
        return [message["content"] for message in self.messages()] + [self.final_observation] * bool(
            self.final_observation
        )

    def to_json(self) -> str:
        """Return the episode as one line of strict JSON with its schema number and chat messages.

        It is read back as it was but for what strict JSON has no form for, see `turngym.strict_json`: a reward or a
        log-probability that is not finite is read as NaN, and half a character as its spelling.
        """
        return dumps({"schema": SCHEMA, **asdict(self), "messages": self.messages()})

    @classmethod
    def from_json(cls, line: str | bytes) -> Episode:
        """Read a line written by `to_json`.

        Raises:
            ValueError: The line is not an episode of this schema.
        """
        try:
            record = json.loads(line)
            schema = record.pop("schema")
            if schema not in READABLE:
                raise ValueError(f"episode schema {schema} cannot be read; this version reads {READABLE}")
            record.pop("messages", None)
            turns = [_turn(turn) for turn in record.pop("turns")]
            return cls(**{**record, "turns": turns, "status": Status(record["status"])})
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not an episode: {error}") from error


def _turn(record: dict[str, Any]) -> Turn:
    """Read a turn; null stands for a number that was not finite."""
    numbers = {name: math.nan for name in ("reward", "task_reward", "potential") if record[name] is None}
    logprobs = [math.nan if number is None else number for number in record.get("logprobs", [])]
    changed: dict[str, Any] = {**numbers, "logprobs": logprobs}
    changed |= {name: tuple(record[name]) for name in ("span", "forced") if name in record}
    return Turn(**{**record, **changed})


def write_episodes(path: Path, episodes: Iterable[Episode]) -> int:
    """Append episodes to a JSONL file, one a line, and return how many were written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("a", encoding="utf-8") as file:
        for episode in episodes:
            file.write(episode.to_json() + "\n")
            count += 1
    return count


def read_episodes(path: Path) -> Iterator[Episode]:
    """Read a file of episodes, one at a time: JSON lines, or Parquet where its name ends in `.parquet`.

    Raises:
        ValueError: A line is not an episode; the message names the file and the line.
    """
    if path.suffix == ".parquet":
        from turngym.agents.parquet import read_parquet

        yield from read_parquet(path)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield Episode.from_json(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
