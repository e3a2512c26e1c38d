"""Play of a run: its environment, number of parallel episodes and shaped rewards; without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Self

import gymnasium as gym

from turngym.agents.base import Agent
from turngym.agents.episode import Episode
from turngym.agents.rollout import Instance, PlayError, collect_episodes
from turngym.envs import played_range, reward_range, turn_limit
from turngym.envs.potentials import ReplacePotential
from turngym.envs.registry import PROPOSAL
from turngym.trainers.config import EnvConfig, ShapingConfig, TrainConfig
from turngym.trainers.instances import TARGET, level_of
from turngym.trainers.shaping import is_shaped, shape_rewards, shaped_range

SCRIPTED_SLOTS = 8
"""Episodes of scripted agents played at once: enough to share the cost of a round, few environments to make."""


@dataclass(frozen=True, kw_only=True)
class Play:
    """The settings by which the episodes of a run are played, by whom ever."""

    env: EnvConfig
    """The environment."""
    shaping: ShapingConfig
    """The shaping of the rewards of episodes that are learned from."""
    levels: Sequence[Mapping[str, Any]] = ()
    """Arguments of the easier levels of a curriculum, the easiest first."""
    slots: int = 128
    """Episodes played at once, at most."""
    max_reply_tokens: int = 16
    """Longest reply, in tokens."""
    temperature: float = 1.0
    """Sampling temperature, unless `agent` is given another."""

    @classmethod
    def of(cls, config: TrainConfig) -> Self:
        """Return the rollouts of a run."""
        return cls(env=config.env, shaping=config.shaping, levels=config.curriculum.levels,
                   slots=config.run.rollout_slots, max_reply_tokens=config.model.max_reply_tokens,
                   temperature=config.learning.temperature)  # fmt: skip

    @classmethod
    def of_proposals(cls, config: TrainConfig) -> Self:
        """Return the rollouts of a run in which instances are proposed: `ProposalEnv`, without levels and shaping."""
        env, selfplay = config.env, config.selfplay
        kwargs = {"game": env.id, "game_kwargs": env.kwargs, "trivial": selfplay.trivial,
                  "reasoning": bool(env.kwargs.get("reasoning", False))}  # fmt: skip
        return replace(cls.of(config), env=replace(env, id=PROPOSAL, kwargs=kwargs), shaping=ShapingConfig(), levels=())

    def play(
        self,
        agent: Agent,
        instances: Sequence[Instance],
        *,
        shaped: bool = False,
        slots: int | None = None,
        on_episode: Callable[[Episode], None] | None = None,
    ) -> list[Episode]:
        """Play one episode per instance and return them in that order.

        Args:
            agent: The agent.
            instances: The instances; those of one level of a curriculum come one after the other.
            shaped: Whether to shape the rewards: for episodes that are learned from, not for evaluation.
            slots: Episodes at once; None for those of the run.
            on_episode: Called with every episode as it ends, before its rewards are shaped.
        """
        episodes = self._play_all(agent, instances, slots, on_episode)
        if shaped and is_shaped(self.shaping):
            for episode in episodes:
                shape_rewards(episode, self.shaping)
        return episodes

    def _play_all(
        self,
        agent: Agent,
        instances: Sequence[Instance],
        slots: int | None,
        on_episode: Callable[[Episode], None] | None,
    ) -> list[Episode]:
        """Play the instances in this process."""
        episodes = []
        for level, part in groupby(instances, lambda instance: level_of(instance.index)):
            episodes += collect_episodes(
                agent,
                self.env.id,
                list(part),
                env_kwargs=self.env_kwargs(level),
                slots=self.slots if slots is None else slots,
                step_timeout=self.env.step_timeout,
                isolate=self.env.isolate,
                give_up_after=0,  # whoever learns from them says so when there are none
                wrap=self._wrap,
                on_episode=on_episode,
            )
        return episodes

    def env_kwargs(self, level: int = TARGET) -> dict[str, Any]:
        """Return the arguments of the environment at a level, from 0 for the easiest, or below for the target."""
        return {**self.env.kwargs, **self.levels[level]} if level >= 0 else self.env.kwargs

    @property
    def _wrap(self) -> Callable[[gym.Env[str, str]], gym.Env[str, str]] | None:
        """The wrapper that replaces the potential of an environment; None where it keeps its own."""
        return partial(ReplacePotential, potential=self.shaping.potential) if self.shaping.potential else None

    @property
    def reasoning(self) -> bool:
        """Whether a reply may hold thoughts before its action."""
        return bool(self.env.kwargs.get("reasoning", False))

    @property
    def task_range(self) -> tuple[float, float]:
        """Least and largest return of the task, without shaping."""
        return reward_range(self.env.id, self.env.kwargs)

    @property
    def reward_span(self) -> float:
        """The width of the task's reward range, without shaping: the unit of temperatures in a configuration.

        Example: with rewards in [-1, 1], `beta = 0.1` means 0.2 in units of reward. Shaping does not change the unit;
        otherwise a potential, which changes no optimal policy, would change the temperature and so the optimum.
        """
        low, high = self.task_range
        return high - low

    @property
    def return_range(self) -> tuple[float, float]:
        """Least and largest return that a run learns from, shaping included."""
        return shaped_range(played_range(self.env.id, self.env.kwargs), self.shaping, self.turn_limit)

    @property
    def turn_limit(self) -> int | None:
        """Most turns of an episode; None without a limit."""
        return turn_limit(self.env.id, self.env.kwargs)


def without_errors(episodes: Sequence[Episode], what: str) -> list[Episode]:
    """Return the episodes that did not end in an error.

    Args:
        episodes: At least one episode.
        what: What to call one of them in the message.

    Raises:
        PlayError: There is none.
    """
    usable = [episode for episode in episodes if not episode.status.is_error()]
    if not usable:
        raise PlayError(f"every {what} ended in an error, the first with {episodes[0].error}")
    return usable
