"""A configuration from its parts: defaults, a preset, an algorithm, then single settings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from gymnasium.error import UnregisteredEnv

from turngym._errors import InputError, input_errors
from turngym.agents.models.hub import fetch_model
from turngym.envs import env_class
from turngym.envs.finding import check_env, resolve_env, short_name
from turngym.envs.potentials import find_potential
from turngym.plugins import requested, require_plugins
from turngym.trainers.config import Overrides, TrainConfig, with_algorithm, with_overrides
from turngym.trainers.launch.policies import policy_folder
from turngym.trainers.launch.presets import load_preset, preset_for
from turngym.trainers.prompts.levels import check_levels
from turngym.trainers.selfplay.checks import check_proposals


def configure(
    env: str | None = None,
    *,
    preset: str | None = None,
    algorithm: str | None = None,
    overrides: Overrides | Callable[[TrainConfig], TrainConfig] | None = None,
) -> TrainConfig:
    """Return a whole configuration, checked as far as it can be without a model.

    Args:
        env: The environment; None for that of the preset.
        preset: A preset or a configuration file; None for the environment's own, if it has one.
        algorithm: What to learn by; None for that of the preset.
        overrides: Settings by section, or a function that sets them.

    Raises:
        InputError: A name or a setting cannot be used.
    """
    require_plugins()
    with input_errors():
        base = starting_point(env, preset)
        chosen = base if algorithm is None else with_algorithm(base, algorithm)
        config = overrides(chosen) if callable(overrides) else with_overrides(chosen, overrides or {})
        check_game(config)  # first, since what follows asks the environment for its arguments that are paths
        config = with_date(with_plugins(with_folders(config)))
        other = (algorithm or config.objective.name) if config.objective != base.objective else ""
        return named(config, stem=Path(preset).stem if preset else None, algorithm=other)


def starting_point(env: str | None, preset: str | None) -> TrainConfig:
    """Return the configuration of a preset, or the defaults with an environment, before any setting is changed.

    Raises:
        InputError: Nothing is named, or the preset is for another environment.
    """
    for what, word in {"environment": env, "preset": preset}.items():
        if word is not None and not isinstance(word, str):
            raise InputError(f"the {what} must be named by a text, got {word!r}")
    if not env and not preset:
        raise InputError("name an environment, such as FrozenLake, or a preset")
    env_id = resolve_env(env) if env else None
    preset = preset or (preset_for(env_id) if env_id else None)
    base = load_preset(preset) if preset else TrainConfig()
    meant = resolve_env(base.env.id) if preset else env_id
    if env_id is not None and env_id != meant:
        raise InputError(f"the preset {preset} is for {short_name(meant or '')}, not for {short_name(env_id)}: "
                         "leave one of them out")  # fmt: skip
    return replace(base, env=replace(base.env, id=meant or base.env.id))


def check_game(config: TrainConfig) -> None:
    """Import what is to be imported, make the environment and its levels once, and look the potential up.

    Raises:
        ValueError: One of them is unknown or cannot be made; the message says why.
    """
    require_plugins(config.run.imports, config.run.import_folder)
    check_env(config.env.id, config.env.kwargs)
    check_levels(config.env, config.curriculum.levels)
    check_proposals(config)
    if config.shaping.potential:
        find_potential(config.shaping.potential)


def with_folders(config: TrainConfig) -> TrainConfig:
    """Return a configuration in which every run that serves as a model is replaced by its last checkpoint.

    Raises:
        InputError: A folder holds no weights.
    """
    if config.model.path and not config.model.on_hub:
        config = replace(config, model=replace(config.model, path=str(policy_folder(Path(config.model.path)))))
    models = [str(policy_folder(Path(path))) for path in config.values.explorer_models]
    config = replace(config, values=replace(config.values, explorer_models=models)) if models else config
    return with_absolute_paths(config)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return a configuration whose files and folders are the same from whatever folder a run is continued."""
    model, values, warm_start = config.model, config.values, config.warm_start
    with suppress(UnregisteredEnv, ImportError):  # which are told where the environment is made
        named = getattr(env_class(config.env.id), "path_arguments", ())
        kwargs = {name: path for name, path in config.env.kwargs.items() if name in named and isinstance(path, str)}
        paths = {name: absolute(path) for name, path in kwargs.items() if path}
        config = replace(config, env=replace(config.env, kwargs={**config.env.kwargs, **paths}))
    if model.path and not model.on_hub:
        config = replace(config, model=replace(model, path=absolute(model.path)))
    if config.rollout.weights:
        config = replace(config, rollout=replace(config.rollout, weights=absolute(config.rollout.weights)))
    if values.explorer_models:
        models = [absolute(path) for path in values.explorer_models]
        config = replace(config, values=replace(values, explorer_models=models))
    if warm_start.demonstrations:
        shown = absolute(warm_start.demonstrations)
        config = replace(config, warm_start=replace(warm_start, demonstrations=shown))
    return config


def absolute(path: str) -> str:
    """Return a path from the root of the file system on."""
    return str(Path(path).absolute())


def with_commit(config: TrainConfig) -> TrainConfig:
    """Return a configuration that keeps the commit which a name of the hub means now; the model is fetched.

    Raises:
        InputError: It cannot be.
    """
    model = config.model
    if not model.on_hub:
        return config
    with input_errors():
        found = fetch_model(model.path, model.revision, allow_pickle=model.allow_pickle)
    return replace(config, model=replace(model, revision=found.commit))


def with_date(config: TrainConfig) -> TrainConfig:
    """Return a configuration that keeps the date which the chat template of a checkpoint may show: today's."""
    if not config.model.path or config.model.date:
        return config
    today = datetime.now().astimezone().date()
    return replace(config, model=replace(config.model, date=today.isoformat()))


def with_plugins(config: TrainConfig) -> TrainConfig:
    """Return a configuration whose `run.imports` also lists what was imported on request, from this folder."""
    imports = list(dict.fromkeys([*config.run.imports, *requested()]))
    folder = config.run.import_folder or (str(Path.cwd()) if imports else "")
    return replace(config, run=replace(config.run, imports=imports, import_folder=folder))


def own_stem(config: TrainConfig) -> str:
    """Return how the name of a run begins: with the preset of its environment, or the environment itself."""
    return preset_for(config.env.id) or short_name(config.env.id)


def named(config: TrainConfig, *, stem: str | None = None, algorithm: str = "") -> TrainConfig:
    """Return a configuration whose run has a name; without one, it is made of environment, objective and seed.

    Args:
        config: The configuration.
        stem: The beginning of the name; None for the preset's or the environment's name.
        algorithm: The algorithm, where it is not that of the preset; empty otherwise.
    """
    if config.run.name:
        return config
    stem = stem or own_stem(config)
    own = f"-{algorithm}" if algorithm else ""
    return replace(config, run=replace(config.run, name=f"{stem}{own}-seed{config.run.seed}"))
