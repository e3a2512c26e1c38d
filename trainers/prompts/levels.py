"""Whether the levels of a curriculum can be played, and belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turngym.envs import make_env, text_env
from turngym.trainers.config import EnvConfig
from turngym.trainers.instances import LEVEL_INSTANCES

NO_LEVELS = ("split", "render_mode")
"""Arguments that change nothing about an episode of training."""


def check_levels(env: EnvConfig, levels: Sequence[Mapping[str, Any]]) -> None:
    """Make and reset the environment of every level, so that a wrong one is refused before anything is played.

    A level may change how hard the game is. It must not change what a reply looks like (`reasoning`) or what the return
    can be, since policy, values and KL temperature are shared.

    Args:
        env: The configured environment.
        levels: What the easier levels change of it.

    Raises:
        ValueError: A level cannot be made, is no level of its own, or does not fit the target.
    """
    known = [env.kwargs]
    for number, level in enumerate(levels):
        place, kwargs = f"curriculum.levels[{number}] {level}", {**env.kwargs, **level}
        for name in NO_LEVELS:
            if name in level:
                raise ValueError(f"{place}: {name} makes no level, since training sets it; leave it out")
        if kwargs in known:
            raise ValueError(f"{place} is the same as another level or the environment itself; leave it out")
        known.append(kwargs)
        own, target = _shared(env.id, kwargs, place), _shared(env.id, env.kwargs, "env")
        for name, value in own.items():
            if value != target[name]:
                raise ValueError(f"{place} must not change {name}: it has {value}, the environment itself "
                                 f"{target[name]}")  # fmt: skip


def _shared(env_id: str, kwargs: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return what all levels must share, of one that was made and reset."""
    try:
        env = make_env(env_id, kwargs)
        env.reset(seed=0, options={"split": "train", "index": LEVEL_INSTANCES})
    except (TypeError, ValueError) as error:
        reason = str(error).partition(" was raised from the environment creator")[0]
        raise ValueError(f"{place} cannot be made: {reason}") from error
    env.close()
    return {name: getattr(text_env(env), name) for name in ("reasoning", "reward_range")}
