"""The cells of the table: who played where with which seed, and what came of it, kept in one file each.

A file is whole or absent, and is found by a digest of everything that matters: environment, shop, arguments, split,
number of episodes, seed, agent and version. So a run that was killed goes on, and what was played otherwise is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from turngym._durable import replacement
from turngym._version import __version__
from turngym.agents.base import Agent
from turngym.agents.episode import Episode, Status
from turngym.benchmarks.webshop.protocols import Stand
from turngym.envs.splits import Split
from turngym.strict_json import dumps

SCHEMA = 2
PARTS = ("r_type", "r_att", "r_option", "r_price")
"""The parts of the reward, as `info` and an outcome call them."""
FOLDER = "cells"
"""Where the files are, in the folder of a benchmark."""


@dataclass(frozen=True, kw_only=True)
class Player:
    """Who plays."""

    name: str
    """How the row is called; players of one name are runs of one agent, and share a row."""
    identity: Mapping[str, Any]
    """What tells it from others: a name and arguments, or a digest of weights and how they are played."""
    make: Callable[[int], Agent]
    """Returns the agent, which plays so many episodes at once."""
    presentation: Mapping[str, Any] = field(default_factory=dict)
    """What it reads, where that is not as the protocol says: arguments of the environment."""
    draws: bool = True
    """Whether it draws, so that another seed may play otherwise."""
    keeps: bool = False
    """Whether every episode is kept at once, since it costs money, and not only the whole cell."""
    most_slots: int | None = None
    """Most episodes to play at once; None for as many as are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one episode."""

    goal: int
    """The goal, by its number within the split."""
    success: bool = False
    """Whether the purchase was all that was asked for."""
    bought: bool = False
    """Whether there was one."""
    score: float = 0.0
    """The share of the wish that the purchase fulfills, in [0, 1], whatever reward the protocol makes of it."""
    r_type: float | None = None
    """The factor of the kind of product, in [0, 1]; None without a purchase."""
    r_att: float | None = None
    """The share of the wanted attributes."""
    r_option: float | None = None
    """The share of the wanted options; None where none were wanted."""
    r_price: float | None = None
    """1 if the price respects the bound, else 0."""
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
    def of(cls, episode: Episode, num_goals: int) -> Outcome:
        """Return the outcome of an episode.

        Args:
            episode: A finished episode.
            num_goals: How many goals the split has, after which they begin again.
        """
        goal = episode.index % num_goals
        if episode.status.is_error():
            return cls(goal=goal, error=episode.error or episode.status.value)
        bought = episode.status is Status.COMPLETED  # a product that is only looked at has measures too
        parts = episode.measures if bought else {}
        return cls(
            goal=goal, success=episode.success, bought=bought, score=parts.get("task_score", 0.0),
            r_type=parts.get("r_type"), r_att=parts.get("r_att"), r_option=parts.get("r_option"),
            r_price=parts.get("r_price"), turns=len(episode.turns),
            invalid=sum(not turn.valid for turn in episode.turns),
            lenient=sum(turn.lenient for turn in episode.turns), tokens=episode.num_tokens,
            cut=episode.status is Status.TRUNCATED_LENGTH or any(turn.cut for turn in episode.turns),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One agent at one stand with one seed."""

    stand: Stand
    player: Player
    seed: int
    split: Split
    episodes: int
    """How many episodes, of the first goals of the split."""
    slots: int
    """Episodes played at once."""
    lenient: bool = False
    """Whether a reply that the shop refuses is read once more, leniently."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the environment, in the form that the player reads."""
        return {**self.stand.arguments, **self.player.presentation}

    @cached_property
    def key(self) -> dict[str, Any]:
        """Everything that decides what comes of it, in the types of JSON; this opens the shop."""
        stand = Stand(catalogue=self.stand.catalogue, protocol=self.stand.protocol,
                      extra={**self.stand.extra, **self.player.presentation})  # fmt: skip
        key = {"schema": SCHEMA, "turngym": __version__, **stand.describe(), "split": self.split,
               "episodes": self.episodes, "seed": self.seed, "agent": dict(self.player.identity)}  # fmt: skip
        written: dict[str, Any] = json.loads(dumps(key | ({"lenient": True} if self.lenient else {})))
        return written

    @property
    def digest(self) -> str:
        """A short name of the key."""
        return blake2b(json.dumps(self.key, sort_keys=True).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A cell that was played."""

    cell: Cell
    outcomes: Sequence[Outcome]
    """One for each episode, in the order of the instances."""
    seconds: float
    """Wall-clock time of all episodes."""


def write_cell(folder: Path, result: CellResult) -> Path:
    """Keep a cell in the folder of a benchmark, and return its file."""
    cell = result.cell
    label = f"{cell.stand.title} {cell.player.name} seed {cell.seed}"
    path = folder / FOLDER / f"{re.sub(r'[^A-Za-z0-9]+', '_', label)[:80]}-{cell.digest}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {part.name: [getattr(outcome, part.name) for outcome in result.outcomes] for part in fields(Outcome)}
    with replacement(path) as unfinished:
        unfinished.write_text(dumps({"key": cell.key, "seconds": result.seconds, "outcomes": columns}) + "\n",
                              encoding="utf-8")  # fmt: skip
    return path


def episodes_file(folder: Path, cell: Cell) -> Path:
    """Return the file of the episodes of a cell that is not whole yet."""
    return folder / FOLDER / f"{cell.digest}.episodes.jsonl"


def read_cell(folder: Path, cell: Cell) -> CellResult | None:
    """Return what was kept of a cell; None where it was not played, was played otherwise, or is damaged."""
    for path in sorted((folder / FOLDER).glob(f"*-{cell.digest}.json")):
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # a damaged one is played again, and replaced
            kept = json.loads(path.read_text(encoding="utf-8"))
            columns = kept["outcomes"]
            outcomes = [Outcome(**dict(zip(columns, values, strict=True)))
                        for values in zip(*columns.values(), strict=True)]  # fmt: skip
            if kept["key"] == cell.key and len(outcomes) == cell.episodes:
                return CellResult(cell=cell, outcomes=outcomes, seconds=float(kept["seconds"]))
    return None


def left_over(folder: Path, cells: Iterable[Cell]) -> list[str]:
    """Return a sentence where the folder holds what is of none of these cells: played otherwise, or by others."""
    own = {cell.digest for cell in cells}
    others = [path for path in (folder / FOLDER).glob("*.json") if path.stem.rpartition("-")[2] not in own]
    count = f"{len(others)} file{'' if len(others) == 1 else 's'}"
    return [f"In no table: {count} in {folder / FOLDER} of other settings, weights or versions."] if others else []
