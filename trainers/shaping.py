"""Reward shaping as a run's configuration asks for it, added to episodes after they were played.

It is the arithmetic of `turngym.envs.shaping`, and not its wrappers: an episode may also end because the context of the
model is full, which no environment sees, and the last potential must be paid back there too. Only what is learned from
is shaped; success, task return and everything that is measured are those of the game.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from turngym.agents.episode import Episode
from turngym.envs.shaping import plain_term, potential_gains
from turngym.trainers.config import ShapingConfig


def played_shaping(shaping: ShapingConfig) -> ShapingConfig:
    """Return the shaping of episodes as they are played: without the automatic one, which the objective alone sees."""
    return replace(shaping, automatic_weight=0.0)


def is_shaped(shaping: ShapingConfig) -> bool:
    """Return whether a run shapes the rewards of its episodes at all."""
    return replace(played_shaping(shaping), potential="") != ShapingConfig()


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


def shaped_range(
    played_range: tuple[float, float], shaping: ShapingConfig, turn_limit: int | None
) -> tuple[float, float]:
    """Return the bounds of a return with its shaping: the start's potential, in [0, 1], and the worst of every turn.

    Args:
        played_range: The bounds of a return as it is played.
        shaping: The section of the configuration.
        turn_limit: Most turns of an episode; without one, what is taken for turns has no bound.
    """
    low, high = played_range
    worst = max(shaping.invalid_penalty, shaping.format_penalty) + shaping.step_cost
    turns = math.inf if turn_limit is None else turn_limit
    return low - shaping.potential_weight - (turns * worst if worst else 0.0), high
