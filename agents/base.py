"""What it takes to play: which episode, and the interface of scripted agents, language models and people alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from turngym.arguments import Index, checked
from turngym.envs.core import TextEnv
from turngym.envs.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Which episode to play."""

    split: str
    """The split of the instance."""
    index: int
    """The instance within its split."""
    seed: int
    """Seeds the environment's chance and the agent's sampling; of any size."""

    def __post_init__(self) -> None:
        """Check the three.

        Raises:
            InputError: There is no such split, or a number is no whole number of at least 0.
        """
        for name, kind in {"split": Split, "index": Index, "seed": Index}.items():
            object.__setattr__(self, name, checked(getattr(self, name), kind, name))


@dataclass(slots=True, kw_only=True)
class Reply:
    """What an agent answered in one turn."""

    text: str
    """The action as the environment will read it."""
    span: tuple[int, int] = (0, 0)
    """Where its ids lie in the agent's token stream of this episode."""
    forced: tuple[int, int] = (0, 0)
    """Where those of them lie that were written for the agent, not sampled, so that it answers."""
    row_start: int = 0
    """Where the row begins that holds them; what stands before it the agent did not see."""
    logprobs: list[float] = field(default_factory=list)  # [num_sampled]
    """The log-probability of each sampled id, nats."""
    cut: bool = False
    """Whether the longest reply ended it, not the agent."""
    out_of_room: bool = False
    """Whether the row is full, so that the episode cannot go on."""
    tokens: int = 0
    """Tokens of the reply and its thoughts as a server counted them; 0 where the ids are known."""


class Agent(Protocol):
    """An agent of many episodes at once, each in a numbered slot.

    A rollout calls `start` when an episode enters a slot, then alternates `act` over all waiting slots and `observe`,
    and calls `finish` when the episode is over; the slot is then free for another episode.
    """

    policy_version: int

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        """Enter an episode: `env` stands after its reset, `seed` determines every random choice of the agent."""

    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Reply in each of `slots`, in that order."""

    def observe(self, slot: int, observation: str) -> None:
        """Read the environment's answer to the last reply; only called while the episode goes on."""

    def finish(self, slot: int) -> list[int]:
        """Leave the slot and return the episode's token stream, empty for agents without tokens."""
