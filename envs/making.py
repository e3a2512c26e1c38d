"""From the id of an environment to the environment, and to what is known of it without making one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, load_env_creator, parse_env_id

from turngym._deadline import CLOSING_TIME, call_within
from turngym._errors import InputError
from turngym.arguments import checked
from turngym.credentials import redacted, with_credentials, without_credentials
from turngym.envs.adapter import AdaptedTextEnv, is_range
from turngym.envs.core import AnnounceTurnLimit, TextEnv, UnfitEnv, is_wrapped
from turngym.envs.registry import ANNOUNCE

ADAPTER_PREFIX = "adapter_"
ADAPTER_ARGUMENTS = tuple(f"{ADAPTER_PREFIX}{name}" for name in ("success_threshold", "rules", "reward_range"))
"""What `make_env` takes for the adapter, beside the arguments of the environment itself."""
SHARED_ARGUMENTS = ("split", "reasoning", "render_mode")
"""Arguments of every `TextEnv`, and so of the adapter."""

NO_LIMIT = -1
"""What Gymnasium takes for `max_episode_steps` where there shall be no turn limit."""

_ranges_read: dict[tuple[Any, str], tuple[float, float]] = {}


def make_env(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> gym.Env[str, str]:
    """Make an environment for play: a `TextEnv` inside that knows its turn limit, without Gymnasium's checks per step.

    Args:
        env_id: A registered id; in Gymnasium's form "module:id" the module is imported first and registers it.
        env_kwargs: Arguments of the environment, and `max_episode_steps`. An environment that is no `TextEnv` but plays
            in text is adapted; `adapter_success_threshold`, `adapter_rules` and `adapter_reward_range` are then
            arguments of `AdaptedTextEnv`.

    Raises:
        gymnasium.error.UnregisteredEnv: There is no such environment.
        InputError: An argument is of another type or out of range.
        UnfitEnv: It does not play in text, or its `reward_range` is not what its class says.
        TypeError: It does not take these arguments.
    """
    kwargs = _checked_kwargs(env_kwargs)
    kind = env_class(env_id)
    if kind is AdaptedTextEnv:
        return _adapted(env_id, kwargs)
    env = _made(env_id, disable_env_checker=True, **_without_adapter(kwargs))
    if not isinstance(env.unwrapped, TextEnv):
        discard(env)
        return _adapted(env_id, kwargs)
    useless = sorted(set(kwargs) & set(ADAPTER_ARGUMENTS))
    if useless:
        discard(env)
        raise UnfitEnv(f"{type(env.unwrapped).__name__} needs no adapter: leave out {', '.join(useless)}")
    check_range(env)
    return env if is_wrapped(env, AnnounceTurnLimit) else AnnounceTurnLimit(env)


def text_env(env: gym.Env[Any, Any]) -> TextEnv:
    """Return the `TextEnv` inside of all wrappers.

    Raises:
        TypeError: There is none.
    """
    inside = env.unwrapped
    if not isinstance(inside, TextEnv):
        raise TypeError(f"a TextEnv is needed, got {type(inside).__name__}; derive it from turngym.envs.TextEnv, "
                        "or make it with turngym.envs.make_env")  # fmt: skip
    return inside


def discard(env: gym.Env[Any, Any]) -> None:
    """Close an environment that was made to be looked at; that it raises or hangs there is no fault of its play."""
    with suppress(Exception, SystemExit):
        call_within(CLOSING_TIME, env.close)


# Without making one -------------------------------------------------------------------------------------------------


def env_class(env_id: str) -> type[TextEnv] | None:
    """Return the class of what `make_env` makes; None where it is registered by a function, which only a call tells.

    Raises:
        gymnasium.error.UnregisteredEnv: There is no such environment.
    """
    creator = _creator(env_id)
    if not isinstance(creator, type) or issubclass(creator, gym.Wrapper):
        return None
    return creator if issubclass(creator, TextEnv) else AdaptedTextEnv


def played_class(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> type[TextEnv]:
    """Return the class of what `make_env` makes, as `env_class`; where only a call tells, one is made and closed.

    Args:
        env_id: As of `make_env`.
        env_kwargs: As of `make_env`.

    Raises:
        gymnasium.error.UnregisteredEnv: There is no such environment.
    """
    kind = env_class(env_id)
    if kind is not None:
        return kind
    env = make_env(env_id, env_kwargs)
    discard(env)
    return type(text_env(env))


def reward_range(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> tuple[float, float]:
    """Return the bounds of the undiscounted return of an episode.

    The class says it, see `TextEnv.reward_range_of`. Where it does not, one environment is made and closed, and what
    it said is remembered.

    Args:
        env_id: As of `make_env`.
        env_kwargs: As of `make_env`.

    Raises:
        gymnasium.error.UnregisteredEnv: There is no such environment.
    """
    kwargs = {**_spec(env_id).kwargs, **(env_kwargs or {})}
    kind = env_class(env_id)
    declared = None if kind is None else declared_range(kind, kwargs)
    if declared is not None:
        return declared
    key = _creator(env_id), json.dumps(kwargs, sort_keys=True, default=repr)
    if key not in _ranges_read:
        env = make_env(env_id, env_kwargs)
        low, high = text_env(env).reward_range
        discard(env)
        _ranges_read[key] = float(low), float(high)
    return _ranges_read[key]


def played_range(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> tuple[float, float]:
    """Return the bounds of the undiscounted return of an episode with the wrappers that the registration adds.

    They are those of `reward_range` unless one of these wrappers has a `reward_range` of its own, as shaping has.

    Args:
        env_id: As of `make_env`.
        env_kwargs: As of `make_env`.

    Raises:
        gymnasium.error.UnregisteredEnv: There is no such environment.
    """
    wrappers = [load_env_creator(wrapper.entry_point) for wrapper in _spec(env_id).additional_wrappers]
    if not any(hasattr(wrapper, "reward_range") for wrapper in wrappers):
        return reward_range(env_id, env_kwargs)
    env = make_env(env_id, env_kwargs)
    low, high = env.get_wrapper_attr("reward_range")
    discard(env)
    return float(low), float(high)


def turn_limit(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> int | None:
    """Return the turn limit that `make_env` puts in force, None without one.

    Raises:
        gymnasium.error.UnregisteredEnv: There is no such environment.
    """
    asked = _checked_kwargs(env_kwargs).get("max_episode_steps")
    limit = _spec(env_id).max_episode_steps if asked is None else asked
    return None if limit == NO_LIMIT else limit


def defining_arguments(env_id: str, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the arguments decides how an environment plays, see `TextEnv.defining_arguments`.

    Args:
        env_id: As of `make_env`.
        env_kwargs: As of `make_env`.
    """
    kind = env_class(env_id)
    return dict(env_kwargs if kind in (None, AdaptedTextEnv) else kind.defining_arguments(env_kwargs))


def declared_range(kind: type[TextEnv], kwargs: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the `reward_range` that a class declares for arguments; None where `__init__` may set another.

    What stands nearest to the class counts: the method `reward_range_of`, or `reward_range` in the body.
    """
    if kind is AdaptedTextEnv:
        given = kwargs.get(f"{ADAPTER_PREFIX}reward_range")
        return None if given is None else (float(given[0]), float(given[1]))
    owner = next(one for one in kind.__mro__ if {"reward_range_of", "reward_range", "__init__"} & set(vars(one)))
    if "reward_range_of" not in vars(owner) and not isinstance(vars(owner).get("reward_range"), tuple):
        return None
    own = {name: value for name, value in kwargs.items() if name != "max_episode_steps"}
    low, high = kind.reward_range_of(**own) if "reward_range_of" in vars(owner) else kind.reward_range
    return float(low), float(high)


def check_range(env: gym.Env[str, str]) -> None:
    """Check that a made environment has a `reward_range`, and the one that its class declares.

    Raises:
        UnfitEnv: It has none or another.
    """
    inside = text_env(env)
    if not is_range(inside.reward_range):
        raise UnfitEnv(f"the reward_range of {type(inside).__name__} must be two finite numbers, the lower first and "
                       f"not equal, got {inside.reward_range!r}")  # fmt: skip
    declared = declared_range(type(inside), inside.spec.kwargs if inside.spec else {})
    if inside.spec and declared not in (None, tuple(inside.reward_range)):
        raise UnfitEnv(f"{type(inside).__name__} has the reward_range {tuple(inside.reward_range)}, its class declares "
                       f"{declared}: override the class method reward_range_of")  # fmt: skip


# How it is made -----------------------------------------------------------------------------------------------------


def make_adapted(env_id: str, env_kwargs: Mapping[str, Any], **arguments: Any) -> AdaptedTextEnv:
    """Make an environment and adapt it; the entry point of what `make_env` adapts.

    Args:
        env_id: As of `make_env`.
        env_kwargs: Arguments of the environment inside.
        **arguments: Those of `AdaptedTextEnv`.
    """
    # Without a time limit inside: it would not count the replies that never get there.
    return AdaptedTextEnv(_made(env_id, max_episode_steps=-1, disable_env_checker=True, **env_kwargs), **arguments)


def _adapted(env_id: str, kwargs: Mapping[str, Any]) -> gym.Env[str, str]:
    spec = _spec(env_id)
    own = _without_adapter(kwargs)
    taken = inspect.signature(_creator(env_id)).parameters
    arguments = {name.removeprefix(ADAPTER_PREFIX): kwargs[name] for name in ADAPTER_ARGUMENTS if name in kwargs}
    arguments |= {name: own.pop(name) for name in SHARED_ARGUMENTS if name in own and name not in taken}
    limit = turn_limit(env_id, kwargs)
    own.pop("max_episode_steps", None)
    adapted = EnvSpec(
        spec.id, entry_point="turngym.envs.making:make_adapted", reward_threshold=spec.reward_threshold,
        nondeterministic=spec.nondeterministic, max_episode_steps=limit, disable_env_checker=True,
        kwargs={"env_id": env_id, "env_kwargs": own, **arguments}, additional_wrappers=(ANNOUNCE,),
    )  # fmt: skip
    return gym.make(adapted)


def _checked_kwargs(env_kwargs: Any) -> dict[str, Any]:
    """Return arguments of `make_env`, of which those that Gymnasium itself reads are checked here."""
    kwargs = {} if env_kwargs is None else env_kwargs
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise InputError(f"the arguments of an environment must be a mapping from their names, got {env_kwargs!r}")
    checked(kwargs.get("render_mode"), str | None, "render_mode")
    limit = checked(kwargs.get("max_episode_steps"), int | None, "max_episode_steps")
    if limit is not None and limit < 1 and limit != NO_LIMIT:
        raise InputError(f"max_episode_steps must be at least 1, or {NO_LIMIT} for no limit, got {limit}")
    clean: dict[str, Any] = without_credentials(dict(kwargs))
    return clean if limit is None else {**clean, "max_episode_steps": limit}


def _made(env_id: str, **kwargs: Any) -> gym.Env[str, str]:
    """Return what `gymnasium.make` makes, in whose message of failure, which lists all arguments, no secret stands.

    What connects to an address in this suite asks for its secret by itself, so that it is in no `spec` either.
    """
    kind = env_class(env_id)
    own = kind is not None and kind.__module__.startswith(f"{TextEnv.__module__.rpartition('.')[0]}.")
    try:
        return gym.make(env_id, **(kwargs if own else with_credentials(kwargs)))
    except Exception as error:
        error.args = tuple(redacted(part) if isinstance(part, str) else part for part in error.args)
        raise


def _spec(env_id: str) -> EnvSpec:
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    if name not in gym.registry:
        namespace, plain, version = parse_env_id(name)
        latest = find_highest_version(namespace, plain)
        name = get_env_id(namespace, plain, latest) if version is None and latest is not None else name
    return gym.spec(name)


def _creator(env_id: str) -> Callable[..., Any]:
    entry_point = _spec(env_id).entry_point
    if entry_point is None:
        raise UnfitEnv(f"{env_id} is registered without an entry point, so that no single environment can be made")
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _without_adapter(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in ADAPTER_ARGUMENTS}
