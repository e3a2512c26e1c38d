"""Limits of play with checkpoints; those of presets and defaults are for the built-in model, which replies briefly."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from turngym._errors import input_errors
from turngym.agents.episode import Episode
from turngym.agents.models.decoding import Decoding
from turngym.envs import turn_limit
from turngym.trainers.base_checks import played_examples
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.presets import named_for_checkpoints

REPLY, REASONED_REPLY = 64, 512
"""Tokens of a reply: of an action alone, and with thoughts before it."""
MOST_CONTEXT = 8192
"""Longest context that is taken where none is asked for; memory grows with it."""
CONTEXT_STEP = 1024
"""A context is a multiple of this, unless the model holds less."""
TOKEN_CHARACTERS = 2
"""Characters of a token, as few as maps and numbers have, so that prose takes fewer tokens than computed."""
FRAME = 16
"""Tokens that a chat template writes around an observation and a reply."""
UNSEEN_OPENING, UNSEEN_OBSERVATION = 1024, 64
"""Tokens of rules and first observation, and of a later one, of an environment that no script can play."""


def with_usual_limits(
    config: TrainConfig, preset: str | None, given: Container[str], *, holds: int = MOST_CONTEXT
) -> TrainConfig:
    """Return a configuration by which a checkpoint may write as much as the environment asks for.

    A checkpoint that was trained here keeps the limits that are written beside it, unless the environment's own preset
    has wider ones. Others may write `REPLY` tokens, or `REASONED_REPLY` where a reply holds thoughts, but never less
    than the preset lets the built-in model write, nor more than a quarter of a context that is given or of what the
    model holds. Their context holds as many turns as the environment allows, or as the history shows, with replies of
    that length and observations like those of scripted play; at most `MOST_CONTEXT`.

    Args:
        config: The configuration, of a checkpoint.
        preset: What it began from: a preset, whose limits stay if it names its own checkpoint; a configuration file,
            of which those that it names stay; or None for the preset of the environment.
        given: The settings that were given beside that, such as "model.max_reply_tokens"; they stay.
        holds: Most tokens that the model holds.

    Raises:
        InputError: What is kept beside the weights cannot be read.
    """
    model, stays = config.model, named_for_checkpoints(preset, config.env.id)
    reply_stays, context_stays = (
        f"model.{name}" in stays or f"model.{name}" in given for name in ("max_reply_tokens", "context_length")
    )
    if reply_stays and context_stays:
        return config
    most = min(model.context_length, holds) if context_stays else holds
    with input_errors():
        kept = Decoding.read(Path(model.path))
    played = played_examples(config) if kept is None else []
    wished = min(kept.max_reply_tokens, most - 1) if kept else min(reply_length(config, played), most // 4)
    reply = model.max_reply_tokens if reply_stays else max(model.max_reply_tokens, wished)
    needed = kept.context_length or 0 if kept else min(MOST_CONTEXT, context_need(config, played, reply))
    context = max(min(holds, max(model.context_length, needed)), reply + 1)
    limits = replace(model, max_reply_tokens=reply, context_length=model.context_length if context_stays else context)
    return replace(config, model=limits)


def reply_length(config: TrainConfig, played: Sequence[Episode]) -> int:
    """Return how many tokens a reply may have: as usual, or a multiple of that where a script says more."""
    usual = REASONED_REPLY if config.env.kwargs.get("reasoning", False) else REPLY
    said = max((len(turn.action) for episode in played for turn in episode.turns), default=0)
    return _rounded(max(1, _tokens(said)), usual)


def context_need(config: TrainConfig, played: Sequence[Episode], reply: int) -> int:
    """Return the context that the longest conversation needs, a multiple of `CONTEXT_STEP`.

    It has as many turns as the environment allows, or as the history shows, each with the longest reply. Its
    observations are those of the wordiest of the scripted episodes, and average ones for turns that this one lacks.

    Args:
        config: The configuration.
        played: The scripted episodes; none where no script can play.
        reply: Tokens of the longest reply.
    """
    limit, window = turn_limit(config.env.id, config.env.kwargs), config.decoding.window
    turns = min(limit or MOST_CONTEXT, MOST_CONTEXT if window is None else window + 1)
    openings = [len(each.instructions) + len(each.turns[0].observation) for each in played if each.turns]
    if not openings:
        return _rounded(UNSEEN_OPENING + turns * (reply + UNSEEN_OBSERVATION), CONTEXT_STEP)
    later = [sorted((len(turn.observation) for turn in each.turns[1:]), reverse=True) for each in played]
    usual = sum(map(sum, later)) / max(1, sum(map(len, later)))
    longest = max(sum(each[: turns - 1]) + usual * max(0, turns - 1 - len(each)) for each in later)
    return _rounded(_tokens(max(openings)) + _tokens(longest) + turns * (reply + FRAME), CONTEXT_STEP)


def _tokens(characters: float) -> int:
    return int(-(-characters // TOKEN_CHARACTERS))


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step
