"""From what a user writes for an environment to its id, and whether it takes the arguments it is given."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from turngym.agents.rollout import make_env
from turngym.cli.errors import UsageError, nearest
from turngym.envs import TextEnv, env_ids
from turngym.envs.splits import SPLITS
from turngym.trainers.config import TrainConfig
from turngym.trainers.prompts.curriculum import check_levels


def short_name(env_id: str) -> str:
    """Return an id without namespace and version: "turngym/FrozenLake-v0" is "FrozenLake"."""
    return env_id.rpartition("/")[2].rpartition("-v")[0]


def resolve_env(name: str) -> str:
    """Return the registered id that a name means: the id itself, its short name in any case, or a unique beginning.

    Raises:
        UsageError: No environment or more than one is meant.
    """
    ids = env_ids()
    if name in ids:
        return name
    plain = {env_id: _plain(short_name(env_id)) for env_id in ids}
    wanted = _plain(re.sub(r"-v\d+$", "", name.removeprefix("turngym/")))
    same = [env_id for env_id, spelling in plain.items() if wanted == spelling and _version_fits(name, env_id)]
    begun = [env_id for env_id, spelling in plain.items() if wanted and spelling.startswith(wanted)]
    meant = same[-1:] or ([] if re.search(r"-v\d+$", name) else begun)
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise UsageError(f"{name!r} could be {' or '.join(map(short_name, meant))}; name one of them in full")
    raise UsageError(f"there is no environment {name!r}{nearest(name, map(short_name, ids))}")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _version_fits(name: str, env_id: str) -> bool:
    version = re.search(r"-v\d+$", name)
    return version is None or env_id.endswith(version.group())


def check_env(env_id: str, env_kwargs: Mapping[str, Any]) -> None:
    """Make and reset the environment, so that a wrong argument is an answer now and not a failure later.

    Raises:
        UsageError: The environment does not take these arguments, or needs a package that is not installed.
    """
    try:
        known = env_arguments(env_id)
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from error
    for key in env_kwargs:
        if key not in known:
            raise UsageError(f"{short_name(env_id)} takes no argument {key!r}{nearest(key, known)}")
    try:
        env = make_env(env_id, env_kwargs)
        for split in SPLITS:  # a family may be too small to be split
            env.reset(seed=0, options={"split": split, "index": 0})
        env.close()
    except (ValueError, TypeError) as error:
        reason = str(error).partition(" was raised from the environment creator")[0]
        raise UsageError(f"{short_name(env_id)} refuses its arguments {dict(env_kwargs)}: {reason}") from error


def check_curriculum(config: TrainConfig) -> None:
    """Make and reset the environment of every easier level.

    Raises:
        UsageError: A level cannot be made or does not fit the environment itself.
    """
    try:
        check_levels(config)
    except ValueError as error:
        raise UsageError(str(error)) from error


def env_arguments(env_id: str) -> list[str]:
    """Return the names of everything that `--env.kwargs` may set."""
    creator = _creator(env_id)
    own = [] if creator is None else list(inspect.signature(creator).parameters)
    shared = list(inspect.signature(TextEnv).parameters)
    return [*dict.fromkeys([*own, *shared, "max_episode_steps"])]


def _creator(env_id: str) -> Any:
    """Return the class of an environment, without making one."""
    entry_point = gym.spec(env_id).entry_point
    return gym.envs.registration.load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
