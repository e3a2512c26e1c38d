"""Reward shaping by the section `shaping`, added to the rewards of episodes after they were played.

It uses the arithmetic of `turngym.envs.shaping` and not its wrappers: an episode may also end because the context of
the model is full, which no environment sees, and the last potential must be paid back there too. Only episodes that are
learned from are shaped; success, task return and all evaluation are those of the environment.
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
    """Return the shaping that is added to episodes: all but the automatic one, which is added to batches."""
    return replace(shaping, automatic_weight=0.0)


def is_shaped(shaping: ShapingConfig) -> bool:
    """Return whether a run shapes the rewards of its episodes at all."""
    return replace(played_shaping(shaping), potential="") != ShapingConfig()


def plain_amounts(shaping: ShapingConfig) -> dict[str, float]:
    """Return the penalties and the cost per turn, by the names of the arguments of `PlainShaping`."""
    return {name: getattr(shaping, name) for name in ("invalid_penalty", "format_penalty", "step_cost")}


def shaping_terms(episode: Episode, shaping: ShapingConfig) -> tuple[list[float], list[float]]:
    """Return the terms added to the reward of each turn: from the potential, and from penalties and costs, `[K]`."""
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
    """Return the mean sum of the shaping terms of an episode, of each kind by its name in the metrics.

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
    """Return least and largest return with its shaping.

    A potential in [0, 1] lowers a return by its weight at most, since its terms sum to minus that of the start.
    Penalties and costs lower it by at most those of the worst turn, times the turns.

    Args:
        played_range: Least and largest return as it is played.
        shaping: The section of the configuration.
        turn_limit: Most turns of an episode; None for no limit, where penalties have no bound.
    """
    low, high = played_range
    worst = max(shaping.invalid_penalty, shaping.format_penalty) + shaping.step_cost
    turns = math.inf if turn_limit is None else turn_limit
    return low - shaping.potential_weight - (turns * worst if worst else 0.0), high
