"""Play as the run's configuration says: who samples how, in which environment, how many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from turngym.agents.base import Agent
from turngym.agents.episode import Episode
from turngym.agents.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import Instance, collect_episodes
from turngym.trainers.config import TrainConfig
from turngym.trainers.shaping import is_shaped, shape_rewards


def final_temperature(config: TrainConfig) -> float:
    """Return the sampling temperature of the last step, at which the result is measured."""
    return config.astarpo.temperature_final or config.astarpo.temperature


def model_player(
    model: LanguageModel,
    config: TrainConfig,
    *,
    temperature: float | None = None,
    greedy: bool = False,
    slots: int | None = None,
) -> LanguageModelAgent:
    """Return a player that samples from `model`, or takes the likeliest tokens.

    Args:
        model: Who plays.
        config: The run.
        temperature: Sampling temperature; None for `astarpo.temperature`.
        greedy: Take the likeliest token instead of sampling.
        slots: Most episodes at once; None for `run.rollout_slots`.
    """
    return LanguageModelAgent(
        model,
        temperature=config.astarpo.temperature if temperature is None else temperature,
        greedy=greedy,
        slots=config.run.rollout_slots if slots is None else slots,
        max_reply_tokens=config.model.max_reply_tokens,
    )


def play(
    agent: Agent,
    instances: Sequence[Instance],
    config: TrainConfig,
    *,
    shaped: bool = False,
    slots: int | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Play one episode per instance of the configured environment and return them in that order.

    Args:
        agent: The player.
        instances: What is played.
        config: The run.
        shaped: Whether to shape the rewards as the run is configured: for what is learned from, not for what is
            measured.
        slots: Episodes at once; None for `run.rollout_slots`.
        on_episode: Called with every episode as it ends, before its rewards are shaped.
    """
    episodes = collect_episodes(
        agent,
        config.env.id,
        instances,
        env_kwargs=config.env.kwargs,
        slots=config.run.rollout_slots if slots is None else slots,
        step_timeout=config.env.step_timeout or None,
        on_episode=on_episode,
    )
    if shaped and is_shaped(config):
        for episode in episodes:
            shape_rewards(episode, config.shaping)
    return episodes
