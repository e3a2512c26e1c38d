"""The cells of a table: who played where with which seed, and what came of it, kept in one file each.

A file is whole or absent, and is found by a digest of everything that matters: environment, arguments, split,
instances, seed, agent and version. So a run that was killed goes on, and what was played otherwise is left. Until a
cell is whole its episodes are lines of a file of their own.
"""

from __future__ import annotations

import inspect
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import gymnasium as gym

from turngym._durable import replacement
from turngym._version import __version__
from turngym.agents.base import Agent
from turngym.agents.episode import Episode, Status
from turngym.envs.core import TextEnv
from turngym.envs.making import env_class
from turngym.envs.splits import Split
from turngym.strict_json import dumps

SCHEMA = 3
FOLDER = "cells"
"""Where the files are, in the folder of a benchmark."""
EPISODES = ".episodes.jsonl"
"""How the names of files of episodes end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one episode."""

    instance: int | str
    """What was played; equal ones are the same instance."""
    success: bool = False
    """Whether the task was solved."""
    turns: int = 0
    """Turns taken."""
    invalid: int = 0
    """How many of them were unusable."""
    lenient: int = 0
    """How many of them only the lenient reading made usable."""
    tokens: int = 0
    """Tokens sampled; 0 for agents without tokens."""
    cut: bool = False
    """Whether a limit of tokens ended a reply or the episode."""
    error: str = ""
    """What went wrong in the environment; such an episode counts in nothing else."""

    @classmethod
    def of(cls, episode: Episode, instance: int | str, **others: Any) -> Self:
        """Return the outcome of an episode.

        Args:
            episode: A finished episode.
            instance: What was played.
            **others: What else the kind of outcome holds; not read where the episode ended in an error.
        """
        if episode.status.is_error():
            return cls(instance=instance, error=episode.error or episode.status.value)
        return cls(
            instance=instance, success=episode.success, turns=len(episode.turns),
            invalid=sum(not turn.valid for turn in episode.turns),
            lenient=sum(turn.lenient for turn in episode.turns), tokens=episode.num_tokens,
            cut=episode.status is Status.TRUNCATED_LENGTH or any(turn.cut for turn in episode.turns), **others,
        )  # fmt: skip


class Stand(ABC):
    """Where agents are measured: an environment with its arguments, and what is kept of its episodes."""

    outcome: ClassVar[type[Outcome]]
    """The kind of its outcomes."""

    @property
    @abstractmethod
    def title(self) -> str:
        """How it is called in headings."""

    @property
    @abstractmethod
    def env_id(self) -> str:
        """The registered environment."""

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """The arguments of the environment beyond the registered ones."""

    @abstractmethod
    def describe(self, presentation: Mapping[str, Any]) -> dict[str, Any]:
        """Return what decides how it plays, for JSON: equal for what plays alike, wherever its files are.

        Args:
            presentation: What an agent reads, where that is not as the stand says.
        """

    @abstractmethod
    def outcomes(self, episodes: Sequence[Episode], split: Split) -> list[Any]:
        """Return what came of the episodes of a cell, in their order."""

    def presented(self, presentation: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a presentation the environment knows."""
        known = presentation_arguments(self.env_id)
        return {name: value for name, value in presentation.items() if name in known}


def presentation_arguments(env_id: str) -> tuple[str, ...]:
    """Return the names of the arguments of an environment that say what an agent reads."""
    return (env_class(env_id) or TextEnv).presentation_arguments


def presentation(env_id: str, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides what an agent reads in an environment, defaults included.

    Args:
        env_id: The registered environment.
        env_kwargs: Arguments beyond the registered ones.
    """
    parameters = inspect.signature(env_class(env_id) or TextEnv).parameters
    names = presentation_arguments(env_id)
    own = {name: parameters[name].default for name in names if name in parameters}
    given = {"reasoning": False, **own, **gym.spec(env_id).kwargs, **env_kwargs}
    return {name: given[name] for name in names if name in given}


@dataclass(frozen=True, kw_only=True)
class Player:
    """Who plays."""

    name: str
    """How the row is called; players of one name are runs of one agent, and share a row."""
    identity: Mapping[str, Any]
    """What tells it from others: a name and arguments, or a digest of weights and how they are played."""
    make: Callable[[int], Agent]
    """Returns the agent, which plays so many episodes at once."""
    trained_in: tuple[str, Mapping[str, Any]] | None = None
    """The environment that it learned in, with the arguments beyond the registered ones; None where none is known."""
    draws: bool = True
    """Whether it draws, so that another seed may play otherwise."""
    most_slots: int | None = None
    """Most episodes to play at once; None for as many as are asked for."""
    able: Callable[[Stand], bool] = lambda stand: True  # noqa: ARG005
    """Whether it can play at a stand."""

    @cached_property
    def presentation(self) -> Mapping[str, Any]:
        """What it reads, as it has learned to: arguments of the environment; nothing where that is not known."""
        return presentation(*self.trained_in) if self.trained_in else {}


StandT = TypeVar("StandT", bound=Stand)
OutcomeT = TypeVar("OutcomeT", bound=Outcome)


@dataclass(frozen=True, kw_only=True)
class Cell(Generic[StandT]):
    """One agent at one stand with one seed."""

    stand: StandT
    player: Player
    seed: int
    split: Split
    episodes: int
    """How many episodes, of instances that follow each other."""
    slots: int
    """Episodes played at once."""
    first: int = 0
    """The index of the first instance."""
    lenient: bool = False
    """Whether a reply that is refused is read once more, leniently."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the environment, in the form that the player reads."""
        return {**self.stand.arguments, **self.stand.presented(self.player.presentation)}

    @cached_property
    def key(self) -> dict[str, Any]:
        """Everything that decides what comes of it, in the types of JSON."""
        return written_key({
            **self.stand.describe(self.stand.presented(self.player.presentation)), "split": self.split,
            "first": self.first, "episodes": self.episodes, "seed": self.seed, "agent": dict(self.player.identity),
            **({"lenient": True} if self.lenient else {}),
        })  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """A short name of the key."""
        return digest(self.key)


@dataclass(frozen=True, kw_only=True)
class CellResult(Generic[StandT, OutcomeT]):
    """A cell that was played."""

    cell: Cell[StandT]
    outcomes: Sequence[OutcomeT]
    """One for each episode, in the order of the instances."""
    seconds: float
    """Wall-clock time of the episodes, but for those that were held."""
    held: int = 0
    """How many episodes had been played before a stop."""

    @property
    def played(self) -> list[OutcomeT]:
        """The outcomes without an error."""
        return [outcome for outcome in self.outcomes if not outcome.error]


# Files --------------------------------------------------------------------------------------------------------------


def written_key(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a key in the types of JSON, with the form of the files and the version of turngym."""
    written: dict[str, Any] = json.loads(dumps({"schema": SCHEMA, "turngym": __version__, **key}))
    return written


def digest(key: Mapping[str, Any]) -> str:
    """Return a short name of a key."""
    return blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()


def write_kept(folder: Path, label: str, key: Mapping[str, Any], record: Mapping[str, Any]) -> Path:
    """Keep what has a key in the folder of a benchmark, whole or not at all, and return its file.

    Args:
        folder: That of the benchmark.
        label: Says in the name of the file what it is.
        key: What decides the record.
        record: What is kept.
    """
    path = folder / FOLDER / f"{re.sub(r'[^A-Za-z0-9]+', '_', label)[:80]}-{digest(key)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacement(path) as unfinished:
        unfinished.write_text(dumps({"key": key, **record}) + "\n", encoding="utf-8")
    return path


def read_kept(folder: Path, key: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield what is kept under a key; what is damaged or of another key is passed over."""
    for path in sorted((folder / FOLDER).glob(f"*-{digest(key)}.json")):
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] == key:
                yield kept


def write_cell(folder: Path, result: CellResult[StandT, OutcomeT]) -> Path:
    """Keep a cell in the folder of a benchmark, and return its file."""
    cell = result.cell
    columns = {part.name: [getattr(outcome, part.name) for outcome in result.outcomes]
               for part in fields(cell.stand.outcome)}  # fmt: skip
    return write_kept(folder, f"{cell.stand.title} {cell.player.name} seed {cell.seed}", cell.key,
                      {"seconds": result.seconds, "held": result.held, "outcomes": columns})  # fmt: skip


def episodes_file(folder: Path, cell: Cell[StandT]) -> Path:
    """Return the file of the episodes of a cell that is not whole yet."""
    return folder / FOLDER / f"{cell.digest}{EPISODES}"


def read_cell(folder: Path, cell: Cell[StandT]) -> CellResult[StandT, Any] | None:
    """Return what was kept of a cell; None where it was not played, was played otherwise, or is damaged."""
    for kept in read_kept(folder, cell.key):
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # a damaged one is played again, and replaced
            columns = kept["outcomes"]
            outcomes = [cell.stand.outcome(**dict(zip(columns, values, strict=True)))
                        for values in zip(*columns.values(), strict=True)]  # fmt: skip
            if len(outcomes) == cell.episodes:
                return CellResult(cell=cell, outcomes=outcomes, seconds=float(kept["seconds"]), held=int(kept["held"]))
    return None


def left_over(folder: Path, digests: Iterable[str]) -> list[str]:
    """Return a sentence where the folder holds what is under none of these digests: played otherwise, or by others."""
    own = {*digests}
    found = {path: path.name.removesuffix(EPISODES) for path in (folder / FOLDER).glob(f"*{EPISODES}")}
    found |= {path: path.stem.rpartition("-")[2] for path in (folder / FOLDER).glob("*.json")}
    others = [path for path, name in found.items() if name not in own]
    count = f"{len(others)} file{'' if len(others) == 1 else 's'}"
    return [f"In no table: {count} in {folder / FOLDER} of other settings, weights or versions."] if others else []
