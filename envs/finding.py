"""From what a user writes for an environment to its id, and whether it takes the arguments it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from turngym._deadline import call_within
from turngym._errors import InputError
from turngym.envs.core import UnfitEnv
from turngym.envs.making import ADAPTER_ARGUMENTS, discard, make_env
from turngym.envs.registry import PROPOSAL, env_ids
from turngym.envs.splits import SPLITS, Split
from turngym.names import nearest
from turngym.plugins import describe, import_requested

TRIED_INSTANCES = 3
"""Instances of a split of which one must come to its start."""
TRY_LIMIT = 300.0
"""Seconds that an environment may take to be made and brought to an instance of each split."""
MAIN_THREAD = "signal only works in main thread"
"""How Python begins to refuse to catch a signal elsewhere."""

_VERSION = re.compile(r"-v(\d+)$")
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def short_name(env_id: str) -> str:
    """Return an id without module, namespace and version: "turngym/FrozenLake-v0" is "FrozenLake"."""
    return _VERSION.sub("", re.split("[/:]", env_id)[-1])


def describe_env(env_id: str, env_kwargs: Mapping[str, Any]) -> str:
    """Return an environment with its arguments as text: "FrozenLake-v0 (size=3)".

    Args:
        env_id: Its id, of which the namespace of this suite is left out.
        env_kwargs: Arguments beyond the registered ones.
    """
    arguments = ", ".join(f"{name}={value}" for name, value in sorted(env_kwargs.items()))
    name = env_id.removeprefix("turngym/")
    return f"{name} ({arguments})" if arguments else name


def resolve_env(name: str) -> str:
    """Return the registered id that a name means, and import the module that `module:Id` names.

    Args:
        name: A full id, its short name in any case, a unique beginning of a short name, or `module:Id`, Gymnasium's own
            form for an id that a module registers. A short name means an environment of turngym first.

    Raises:
        InputError: No environment or more than one is meant, or the module cannot be imported.
    """
    if ":" in name:
        return _import_env(name)
    if name in gym.registry:
        return name
    for ids in (env_ids(), foreign_ids()):
        meant = _matching(name, ids)
        if len(meant) == 1:
            return meant[0]
        if meant:
            names = [short_name(env_id) if env_id in env_ids() else env_id for env_id in meant]
            raise InputError(f"{name!r} could be {' or '.join(names)}; name one of them in full")
    known = nearest(name, map(short_name, [*foreign_ids(), *env_ids()]))
    raise InputError(f"there is no environment {name!r}{known} (name your own as module:Id, or as its id after "
                     "--import MODULE)")  # fmt: skip


def foreign_ids() -> list[str]:
    """Return the ids that others have registered, not Gymnasium, the suite or its benchmarks, sorted."""
    others = set(gym.registry) - {*env_ids(), PROPOSAL}
    return sorted(env_id for env_id in others if not _of_benchmarks_or_gymnasium(gym.registry[env_id]))


def _of_benchmarks_or_gymnasium(spec: EnvSpec) -> bool:
    entry_point = spec.entry_point
    place = entry_point if isinstance(entry_point, str) else getattr(entry_point, "__module__", "")
    return f"{place}.".startswith(("gymnasium.envs.", "turngym.benchmarks."))


def _import_env(name: str) -> str:
    """Import the module of `module:Id` and return the id.

    Raises:
        InputError: The module cannot be imported, or does not register the environment.
    """
    module, _, env_id = name.partition(":")
    import_requested(module)
    if env_id not in gym.registry:
        raise InputError(f"the module {module} registers no environment {env_id!r}{nearest(env_id, foreign_ids())} "
                         "(it is to call gymnasium.register when it is imported)")  # fmt: skip
    return env_id


def _matching(name: str, ids: Sequence[str]) -> list[str]:
    """Return which of some ids a name may mean: those that are called so, else those that begin so."""
    plain = {env_id: _plain(_VERSION.sub("", env_id) if "/" in name else short_name(env_id)) for env_id in ids}
    version = _VERSION.search(name)
    wanted = _plain(_VERSION.sub("", name))
    fitting = [env_id for env_id in ids if version is None or env_id.endswith(version.group())]
    same = _latest([env_id for env_id in fitting if plain[env_id] == wanted])
    return same or ([] if version or not wanted else _latest([i for i in ids if plain[i].startswith(wanted)]))


def _latest(ids: Sequence[str]) -> list[str]:
    """Return ids without those that exist in a later version."""
    versions = {env_id: int(found.group(1)) if (found := _VERSION.search(env_id)) else -1 for env_id in ids}
    ordered = sorted(ids, key=versions.__getitem__)
    return list({_VERSION.sub("", env_id): env_id for env_id in ordered}.values())


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def check_env(env_id: str, env_kwargs: Mapping[str, Any]) -> None:
    """Make and reset the environment, so that a wrong argument is an answer now and not a failure later.

    Raises:
        InputError: The environment is not played in text, does not take these arguments, or needs a package that is not
            installed.
    """
    if ":" not in env_id and env_id not in gym.registry:
        raise InputError(f"there is no environment {env_id!r}{nearest(env_id, [*foreign_ids(), *env_ids()])}")
    try:
        known = env_arguments(env_id)
        for key in env_kwargs:
            if known is not None and key not in known:
                raise InputError(f"{short_name(env_id)} takes no argument {key!r}{nearest(key, known)}")
        _try_in_time(env_id, env_kwargs)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(str(error)) from error
    except (Exception, SystemExit) as error:
        fault = f"refuses its arguments {dict(env_kwargs)}" if env_kwargs else "cannot be made and reset"
        raise InputError(f"{short_name(env_id)} {fault}: {why_not(error)}") from error


def _try_in_time(env_id: str, env_kwargs: Mapping[str, Any]) -> None:
    try:
        call_within(TRY_LIMIT, try_env, env_id, env_kwargs)
    except ValueError as error:
        if MAIN_THREAD not in str(error):
            raise
        try_env(env_id, env_kwargs)  # it catches signals, which works here alone


def try_env(env_id: str, env_kwargs: Mapping[str, Any], *, index: int = 0) -> gym.Env[str, str]:
    """Make an environment, bring it to an instance of each split, and return it closed.

    Where an instance fails the next ones are tried. Whatever the environment raises on all of them passes through.

    Raises:
        UnfitEnv: It observes something else than text.
    """
    env = make_env(env_id, env_kwargs)
    try:
        for split in SPLITS:  # a family may be too small to be split
            _try_split(env, split, index)
    finally:
        discard(env)
    return env


def _try_split(env: gym.Env[str, str], split: Split, index: int) -> None:
    """Bring an environment to one of a few instances of a split."""
    failure: BaseException | None = None
    for place in range(index, index + TRIED_INSTANCES):
        try:
            observation: Any = env.reset(seed=0, options={"split": split, "index": place})[0]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is raised again unless another instance is fine
            failure = failure or error
            continue
        if isinstance(observation, str):
            return
        failure = failure or UnfitEnv(
            f"{type(env.unwrapped).__name__} observed a {type(observation).__name__}, not text"
        )
    assert failure is not None
    raise failure


def why_not(error: BaseException) -> str:
    """Return what an environment raised, in one line: its own refusal, or any other exception with its place."""
    if isinstance(error, ValueError | TypeError):
        return " ".join(str(error).partition(" was raised from the environment creator")[0].split())
    return describe(error)


def env_arguments(env_id: str) -> list[str] | None:
    """Return the names of everything that `--env.kwargs` may set; None where an environment takes any name."""
    names = ["max_episode_steps", "render_mode", *ADAPTER_ARGUMENTS]
    signatures = _signatures(_creator(env_id))
    for one in signatures:
        names = [*(name for name, parameter in one.parameters.items() if parameter.kind in _NAMED), *names]
        if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in one.parameters.values()):
            return [*dict.fromkeys(names)]
    return None if signatures else names


def _signatures(creator: Any) -> list[Signature]:
    """Return the signature of a creator, and those to which `**kwargs` of a class hands on."""
    if not isinstance(creator, type):
        return [signature(creator)]
    makers = [vars(part)["__init__"] for part in creator.__mro__[:-1] if "__init__" in vars(part)]
    return [signature(partial(maker, None)) for maker in makers]  # without `self`


def _creator(env_id: str) -> Any:
    """Return the class of an environment, without making one."""
    entry_point = gym.spec(env_id).entry_point
    return gym.envs.registration.load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
