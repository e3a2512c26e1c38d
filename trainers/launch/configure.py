"""From what a user names to a whole configuration: defaults, a preset, an algorithm, single settings, in this order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from turngym._errors import InputError
from turngym.envs.finding import check_env, resolve_env, short_name
from turngym.envs.potentials import find_potential
from turngym.plugins import requested, require_plugins
from turngym.trainers.config import Overrides, TrainConfig, with_algorithm, with_overrides
from turngym.trainers.launch.presets import load_preset, preset_for
from turngym.trainers.launch.run_folder import policy_folder
from turngym.trainers.prompts.levels import check_levels


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
    try:
        base = starting_point(env, preset)
        chosen = base if algorithm is None else with_algorithm(base, algorithm)
        config = overrides(chosen) if callable(overrides) else with_overrides(chosen, overrides or {})
        config = with_plugins(with_folders(config))
        check_game(config)
        other = (algorithm or config.objective.name) if config.objective != base.objective else ""
        return named(config, stem=Path(preset).stem if preset else None, algorithm=other)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error


def starting_point(env: str | None, preset: str | None) -> TrainConfig:
    """Return the configuration that settings are changed of.

    Raises:
        InputError: Nothing is named, or the preset is for another environment.
    """
    if env is None and preset is None:
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
    """Make the environment and its levels once, and look for the potential.

    Raises:
        ValueError: One of them cannot be had; the message says why.
    """
    check_env(config.env.id, config.env.kwargs)
    check_levels(config.env, config.curriculum.levels)
    if config.shaping.potential:
        find_potential(config.shaping.potential)


def with_folders(config: TrainConfig) -> TrainConfig:
    """Return a configuration whose models are folders with weights: a run is its last checkpoint.

    Raises:
        InputError: There are none.
    """
    if config.model.path:
        config = replace(config, model=replace(config.model, path=str(policy_folder(Path(config.model.path)))))
    models = [str(policy_folder(Path(path))) for path in config.values.explorer_models]
    return replace(config, values=replace(config.values, explorer_models=models)) if models else config


def with_plugins(config: TrainConfig) -> TrainConfig:
    """Return a configuration that remembers the modules that were imported for it."""
    imports = list(dict.fromkeys([*config.run.imports, *requested()]))
    return replace(config, run=replace(config.run, imports=imports))


def named(config: TrainConfig, *, stem: str | None = None, algorithm: str = "") -> TrainConfig:
    """Return a configuration whose run has a name: what it has, or one of environment, objective and seed.

    Args:
        config: The configuration.
        stem: The beginning of the name; None for the preset's or the environment's name.
        algorithm: What it learns by, if that is not what the preset does.
    """
    if config.run.name:
        return config
    stem = stem or preset_for(config.env.id) or short_name(config.env.id)
    own = f"-{algorithm}" if algorithm else ""
    return replace(config, run=replace(config.run, name=f"{stem}{own}-seed{config.run.seed}"))
