"""Checks of the levels of a curriculum: each can be made, and all have the same form of reply and reward range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turngym._errors import InputError
from turngym.envs import text_env
from turngym.envs.finding import try_env, why_not
from turngym.trainers.config import EnvConfig
from turngym.trainers.instances import LEVEL_INSTANCES

NO_LEVELS = ("split", "render_mode")
"""Arguments that make no level, since training sets them itself."""


def check_levels(env: EnvConfig, levels: Sequence[Mapping[str, Any]]) -> None:
    """Make and reset the environment of every level.

    A level may change how hard the environment is. It must not change the form of a reply (`reasoning`) or the reward
    range, since all levels share policy, values and KL temperature.

    Args:
        env: The configured environment.
        levels: For each easier level the arguments that it changes.

    Raises:
        InputError: A level cannot be made, equals another, or does not fit the target.
    """
    known = [env.kwargs]
    for number, level in enumerate(levels):
        place, kwargs = f"curriculum.levels[{number}] {level}", {**env.kwargs, **level}
        for name in NO_LEVELS:
            if name in level:
                raise InputError(f"{place}: {name} makes no level, since training sets it; leave it out")
        if kwargs in known:
            raise InputError(f"{place} is the same as another level or the environment itself; leave it out")
        known.append(kwargs)
        own, target = _shared(env.id, kwargs, place), _shared(env.id, env.kwargs, "env")
        for name, value in own.items():
            if value != target[name]:
                raise InputError(f"{place} must not change {name}: it has {value}, the environment itself "
                                 f"{target[name]}")  # fmt: skip


def _shared(env_id: str, kwargs: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Make and reset the environment of a level; return the properties that all levels must share."""
    try:
        env = try_env(env_id, kwargs, index=LEVEL_INSTANCES)
    except (Exception, SystemExit) as error:
        raise InputError(f"{place} cannot be made: {why_not(error)}") from error
    return {name: getattr(text_env(env), name) for name in ("reasoning", "reward_range")}
