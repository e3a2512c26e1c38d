"""Where agents are measured: an environment with its arguments, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any, ClassVar

import gymnasium as gym

from turngym.agents.episode import Episode
from turngym.agents.evaluation import instances_of
from turngym.benchmarks.cells import Outcome, Stand
from turngym.credentials import without_credentials
from turngym.envs.making import defining_arguments, discard, make_env, text_env, turn_limit
from turngym.envs.splits import Split
from turngym.strict_json import dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class GameOutcome(Outcome):
    """What came of one episode; its instance is a digest of how the game began, or its number, see `instances_of`."""

    task_return: float = 0.0
    """The undiscounted return, without shaping."""


@dataclass(frozen=True, kw_only=True)
class GameStand(Stand):
    """An environment with its arguments."""

    outcome: ClassVar[type[Outcome]] = GameOutcome

    env: str
    """The registered id."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments beyond the registered ones."""

    @property
    def title(self) -> str:
        """The id, and the arguments."""
        return stand_name(self.env, self.kwargs)

    @property
    def env_id(self) -> str:
        """The registered environment."""
        return self.env

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the environment beyond the registered ones."""
        return dict(self.kwargs)

    @property
    def turns(self) -> int | None:
        """The turn limit; None without one."""
        return turn_limit(self.env, self.kwargs)

    def describe(self, presentation: Mapping[str, Any]) -> dict[str, Any]:
        """Return what decides how it plays, for JSON."""
        given = {**gym.spec(self.env).kwargs, **self.kwargs, **presentation}
        given.pop("max_episode_steps", None)
        arguments = without_credentials(defining_arguments(self.env, given))
        return {"env_id": self.env, "arguments": dict(sorted(arguments.items())), "turns": self.turns}

    def num_episodes(self, split: Split, most: int) -> int:
        """Return how many episodes are played where so many are asked for: no instance twice that is known to be one.

        Args:
            split: Which instances.
            most: How many at most.
        """
        return min(most, _num_instances(self, split) or most)

    def outcomes(self, episodes: Sequence[Episode], split: Split) -> list[GameOutcome]:
        """Return what came of the episodes of a cell, in their order."""
        usable = [episode for episode in episodes if not episode.status.is_error()]
        names = dict(zip(map(id, usable), map(_name, instances_of(usable)), strict=True))
        return [GameOutcome.of(episode, names.get(id(episode), f"{split} {episode.index}"),
                               task_return=episode.task_return) for episode in episodes]  # fmt: skip

    def __hash__(self) -> int:
        """Return the same for equal ones."""
        return hash((self.env, dumps(dict(self.kwargs))))


def stand_name(env_id: str, kwargs: Mapping[str, Any]) -> str:
    """Return how an environment with its arguments is called in tables."""
    return ", ".join([env_id, *(f"{name} = {value}" for name, value in without_credentials(dict(kwargs)).items())])


def _name(instance: Any) -> str:
    """Return a short name of an instance, the same for equal ones."""
    return blake2b(repr(instance).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@cache
def _num_instances(stand: GameStand, split: Split) -> int | None:
    env = make_env(stand.env, stand.kwargs)
    count = text_env(env).num_instances(split)
    discard(env)
    return count
