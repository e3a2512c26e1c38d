"""What is checked before a run folder exists, and the memory a run needs; torch is imported where it has to be."""

from __future__ import annotations

import warnings
from collections.abc import Container

from turngym._errors import InputError, InputWarning, input_errors
from turngym.agents.models.device_type import find_device_type
from turngym.agents.models.errors import CheckpointError, UnplayableError
from turngym.agents.models.limits import LARGE
from turngym.agents.models.placement import precision_names
from turngym.trainers.config import TrainConfig, find_objective_config
from turngym.trainers.launch.limits import with_usual_limits
from turngym.trainers.launch.presets import SHIPPED, load_preset, preset_env
from turngym.trainers.launch.rates import with_usual_rates
from turngym.trainers.memory import (
    ERROR,
    MemoryEstimate,
    ModelShape,
    available_memory,
    check_memory,
    estimate_memory,
    gigabytes,
)
from turngym.trainers.reporting.trackers import check_packages
from turngym.trainers.torchrun import launched, launched_here

READ = ("env", "model", "lora", "shaping", "selfplay", "warm_start.enabled", "warm_start.demonstrator",
        "warm_start.demonstrator_kwargs", "warm_start.demonstrations", "warm_start.mistake_rate",
        "values.explorer_agents", "run.imports")  # fmt: skip
"""The sections and settings that `check_base` reads of a run with the built-in model."""


def check_run(config: TrainConfig, *, asked: int = 0) -> MemoryEstimate | None:
    """Check what `configure` does not, before the run folder exists.

    Torch is imported for checkpoints, servers and cards alone.

    Args:
        config: The run.
        asked: Of how many processes the memory is asked for, which are on other devices than those here; 0 for none.

    Returns:
        How much memory the run needs, as `checked_memory`.

    Raises:
        InputError: A tracker's package is not installed, the objective is not registered, a model cannot be loaded,
            nobody can be cloned, the demonstrations do not fit into the limits, or the run into memory.
        ServerError: The server that is to play the policy does not answer, or not with ids and log-probabilities.
    """
    check_packages(config.run.trackers)
    with input_errors():
        if type(config.objective) is not find_objective_config(config.objective.name):
            raise InputError(f"{type(config.objective).__name__} is not what {config.objective.name} is registered "
                             "with, and no run could be continued with it: give its objective a name of its "
                             "own")  # fmt: skip
        if config.rollout.server:
            from turngym.trainers.served_policy import connect

            connect(config.rollout).check()
        estimate = None if asked else checked_memory(config)
        check_placement(config)
        if not is_shipped(config):
            check_base(config)
    return estimate


def with_usual_settings(config: TrainConfig, preset: str | None, given: Container[str]) -> TrainConfig:
    """Return a configuration by which a checkpoint plays and learns as is usual for it, and for the environment.

    Args:
        config: The configuration.
        preset: As of `with_usual_limits` and `with_usual_rates`.
        given: The same.

    Raises:
        InputError: As `with_usual_limits`.
    """
    if not config.model.path:
        return config
    try:
        shape = ModelShape.configured(config)
    except CheckpointError:  # which `check_base` explains
        return config
    config = with_usual_limits(config, preset, given, holds=shape.context_length)
    return with_usual_rates(config, preset, given) if shape.parameters >= LARGE else config


def checked_memory(config: TrainConfig) -> MemoryEstimate | None:
    """Return how much memory learning from a checkpoint needs, computed before that is loaded.

    What is above the memory that is left by less than the estimate may be wrong by is a warning. Each of several
    processes has a card of its own, or its share of the memory of a machine.

    Returns:
        The estimate, of each process; None for the built-in model, and where the checkpoint cannot be read, which
        `check_base` explains.

    Raises:
        InputError: The run does not fit; the message says which settings would.
        UnplayableError: The architecture cannot be played.
    """
    if not config.model.path:
        return None
    try:
        estimate = estimate_memory(config, ModelShape.configured(config), processes=launched())
    except UnplayableError:
        raise
    except CheckpointError:
        return None
    available = available_memory(config.run.device) // (1 if estimate.device == "cuda" else launched_here())
    if estimate.peak > (1 + ERROR) * available:
        check_memory(estimate, available)
    if estimate.peak > available:
        warnings.warn(InputWarning(f"the run may need {gigabytes(estimate.peak)} GB, and {gigabytes(available)} are "
                                   "left; --dry-run shows for what"), stacklevel=2)  # fmt: skip
    return estimate


def check_base(config: TrainConfig) -> None:
    """Check that a base can be made, and that the explorers suit it, before a run folder exists.

    Checkpoints are loaded, which takes torch. Of the built-in model the tokenizer is made alone: `ModelConfig` has
    checked the shape of its weights, and all else that may be wrong is what it would read and write.

    Raises:
        ValueError: There is nobody to clone, or the demonstrations do not fit into the limits; or a scripted explorer
            cannot play.
        CheckpointError: A checkpoint cannot be loaded, or an explorer has another tokenizer than the base.
    """
    from turngym.trainers.base_checks import check_context, check_scripts, check_teacher, small_writer

    check_teacher(config)
    check_scripts(config)
    if reads_checkpoints(config):
        from turngym.trainers.base_model import check_checkpoints

        check_checkpoints(config)
    else:
        check_context(small_writer(config), config)


def reads_checkpoints(config: TrainConfig) -> bool:
    """Return whether a run begins from a checkpoint, or explores with one."""
    return bool(config.model.path or (config.needs_stage_one and config.values.explorer_models))


def check_placement(config: TrainConfig) -> None:
    """Check that the built-in model can lie and compute where it is to.

    Raises:
        InputError: There is no such device, or the precisions do not go together.
    """
    if not config.model.path:
        device = find_device_type(config.run.device)
        precision_names(config.placement, device, "float32", learns=True, fast=False)


def is_shipped(config: TrainConfig) -> bool:
    """Return whether `check_base` would find nothing, since it reads what it would read of a preset of the package.

    Those presets are checked with the package. So nothing is played again where they are used as they are, or with
    other settings of the objective, of learning and of all else that `check_base` does not read.
    """
    if reads_checkpoints(config):
        return False
    presets = (load_preset(name) for name in SHIPPED if preset_env(name) == config.env.id)
    return any(_read(preset) == _read(config) for preset in presets)


def _read(config: TrainConfig) -> list[object]:
    sections = (name.partition(".") for name in READ)
    parts = ((getattr(config, section), setting) for section, _, setting in sections)
    return [getattr(section, setting) if setting else section for section, setting in parts]
