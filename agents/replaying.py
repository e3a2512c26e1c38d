"""Recorded episodes, played again: the same actions in the same environment, for what the record does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym

from turngym.agents.episode import Episode


class ReplayError(ValueError):
    """The environment now answers otherwise than it did."""


def replay(env: gym.Env[str, str], episode: Episode) -> Iterator[dict[str, Any]]:
    """Do the actions of an episode again, and stop before each turn and after the last one.

    Example:
        >>> potentials = [info["potential"] for info in replay(make_env(episode.env_id, episode.env_kwargs), episode)]

    Args:
        env: An environment made as the episode's was.
        episode: What was played.

    Yields:
        The information of the environment, which stands where the episode stood then.

    Raises:
        ReplayError: It shows something else than was seen then; what was yielded before is as it was.
    """
    observation, info = env.reset(seed=episode.seed, options={"split": episode.split, "index": episode.index})
    for number, turn in enumerate(episode.turns, start=1):
        if observation != turn.observation:
            raise ReplayError(f"before turn {number} it shows something else than was seen then")
        yield info
        observation, _, _, _, info = env.step(turn.action)
    if episode.final_observation and observation != episode.final_observation:
        raise ReplayError("in the end it shows something else than was seen then")
    yield info
