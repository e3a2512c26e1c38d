"""Reward shaping as a run's configuration asks for it, added to episodes after they were played.

It is the arithmetic of `turngym.envs.shaping`, and not its wrappers: an episode may also end because the context of the
model is full, which no environment sees, and the last potential must be paid back there too. Only what is learned from
is shaped; success, task return and everything that is measured are those of the game.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from turngym.agents.episode import Episode
from turngym.agents.rollout import make_env
from turngym.envs.shaping import PlainShaping, PotentialShaping, plain_term, potential_gains
from turngym.trainers.config import ShapingConfig, TrainConfig


def played_shaping(config: TrainConfig) -> ShapingConfig:
    """Return the shaping of episodes as they are played: without the automatic one, which the objective alone sees."""
    return replace(config.shaping, automatic_weight=0.0)


def is_shaped(config: TrainConfig) -> bool:
    """Return whether a run shapes the rewards of its episodes at all."""
    return played_shaping(config) != ShapingConfig()


def plain_amounts(shaping: ShapingConfig) -> dict[str, float]:
    """Return what `PlainShaping` is told, by its names."""
    return {name: getattr(shaping, name) for name in ("invalid_penalty", "format_penalty", "step_cost")}


def shaping_terms(episode: Episode, shaping: ShapingConfig) -> tuple[list[float], list[float]]:
    """Return what is added to the reward of every turn: from the potential, and plainly."""
    gains = potential_gains([turn.potential for turn in episode.turns])
    plain = [
        plain_term(valid=turn.valid, well_formed=turn.well_formed, **plain_amounts(shaping)) for turn in episode.turns
    ]
    return [shaping.potential_weight * gain for gain in gains], plain


def shape_rewards(episode: Episode, shaping: ShapingConfig) -> None:
    """Add the terms to the rewards of an episode; its task rewards stay."""
    for turn, potential, plain in zip(episode.turns, *shaping_terms(episode, shaping), strict=True):
        turn.reward = turn.reward + potential + plain


def shaping_means(episodes: Sequence[Episode], shaping: ShapingConfig) -> dict[str, float]:
    """Return what the shaping of an episode adds up to, on average, each kind by its name in the metrics.

    Args:
        episodes: At least one.
        shaping: The section of the configuration.
    """
    sums = [[sum(terms) for terms in shaping_terms(episode, shaping)] for episode in episodes]
    potential, plain = np.mean(sums, axis=0).tolist()
    return {"potential_shaping": potential, "plain_shaping": plain}


def return_range(config: TrainConfig) -> tuple[float, float]:
    """Return the bounds of the returns that a run learns from, shaping included: not the unit of the temperatures."""
    env = make_env(config.env.id, config.env.kwargs)
    if is_shaped(config):
        shaping = config.shaping
        env = PotentialShaping(env, weight=shaping.potential_weight)
        env = PlainShaping(env, **plain_amounts(shaping))
    low, high = env.get_wrapper_attr("reward_range")
    return low, high
