"""`turngym train`: from an environment's name to a trained player, a table and a run folder."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import FlagConversionOff, Positional, arg

from turngym.cli.config import (
    CONFIG_FILE,
    changed_settings,
    check_values,
    load_preset,
    preset_for,
    preset_names,
    read_config,
    write_toml,
)
from turngym.cli.environments import check_curriculum, check_env, resolve_env, short_name
from turngym.cli.errors import Failure, UsageError
from turngym.cli.options import parse
from turngym.cli.players import import_trained, model_folder
from turngym.cli.report import REPORT_FILE, RESULT_FILE, alarm_line, result_rows, score_table, write_report
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.trainers.algorithms import with_algorithm
from turngym.trainers.config import TrainConfig

UNREADABLE = (
    "turngym.agents.chat:ChatTemplateError",
    "turngym.agents.language_model:CheckpointError",
    "turngym.trainers.checkpoints.checkpoint:CheckpointError",
    "turngym.trainers.stage_one.store:ValueStoreError",
)
"""Errors of training that are about its input."""
FAILED = (
    "turngym.agents.language_model:NonFiniteError",
    "turngym.trainers.monitoring.alarms:AlarmError",
    "turngym.trainers.warm_start:WarmStartError",
)
"""Errors of training that end it for a reason they explain."""


@dataclass(frozen=True)
class TrainOptions:
    """Teach a language model to play an environment: warm start, stage 1 (values), stage 2 (A*PO), measurement."""

    game: Annotated[Positional[str], arg(metavar="ENV")] = ""
    """The environment, such as FrozenLake; its preset gives the settings that no option names."""
    algorithm: str = ""
    """What to learn by: an objective, such as grpo, or astarpo_lambda, which is one with settings of its own."""
    preset: str = ""
    """A preset of the package, or a configuration file."""
    list_presets: bool = False
    """List the presets and stop."""
    dry_run: bool = False
    """Print the resolved configuration and what would run, and touch nothing."""
    resume: str = ""
    """A run folder to continue from its last checkpoint."""
    config: Annotated[TrainConfig, arg(name=""), FlagConversionOff] = field(default_factory=TrainConfig)
    """The settings."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    # The first reading finds the environment and the preset; the second starts from the preset's values.
    options = parse(TrainOptions, words, command="train")
    console = make_console()
    if options.list_presets:
        return list_presets(console)
    if options.resume:
        return resume(options, words, console)
    config = resolve_config(options, words)
    folder = Path(config.run.root) / config.run.name
    if options.dry_run:
        return dry_run(config, folder, console)
    check_learner(config)
    claim(folder, config)
    return execute(config, folder, console)


# What to run --------------------------------------------------------------------------------------------------------


def resolve_config(options: TrainOptions, words: Sequence[str]) -> TrainConfig:
    """Return the full configuration: defaults, preset, command line, in this order.

    Raises:
        UsageError: The environment, a preset or a value cannot be used.
    """
    named_by_flag = options.config.env.id != TrainConfig().env.id
    named = options.game or (options.config.env.id if named_by_flag else "")
    if options.game and named_by_flag:
        raise UsageError(f"the environment is named twice: {options.game} and --env.id {options.config.env.id}")
    if not named and not options.preset:
        raise UsageError("train needs ENV, such as FrozenLake; see turngym train --help")
    env_id = resolve_env(named) if named else ""
    preset = options.preset or preset_for(env_id)
    base = load_preset(preset) if preset else TrainConfig()
    env_id = env_id or resolve_env(base.env.id)
    if base.env.id != env_id:  # arguments of another environment would not fit
        base = replace(base, env=replace(base.env, kwargs={}), curriculum=replace(base.curriculum, levels=[]))
    base = replace(base, env=replace(base.env, id=env_id))
    config = read_settings(options, words, base)
    learner = options.algorithm or config.astarpo.objective
    own = "" if with_algorithm(base, learner) == base else f"-{learner}"
    name = config.run.name or f"{Path(preset).stem if preset else short_name(env_id)}{own}-seed{config.run.seed}"
    config = replace(config, env=replace(config.env, id=env_id), run=replace(config.run, name=name))
    if config.model.path:
        config = replace(config, model=replace(config.model, path=str(model_folder(Path(config.model.path)))))
    models = [str(model_folder(Path(path))) for path in config.values.explorer_models]
    config = replace(config, values=replace(config.values, explorer_models=models))
    check_values(config)
    check_env(env_id, config.env.kwargs)
    check_curriculum(config)
    return config


def read_settings(options: TrainOptions, words: Sequence[str], base: TrainConfig) -> TrainConfig:
    """Return `base` with what the command line sets: the algorithm first, then single settings.

    Raises:
        UsageError: The command line names two objectives.
    """
    chosen = with_algorithm(base, options.algorithm) if options.algorithm else base
    config = parse(TrainOptions, words, command="train", default=TrainOptions(config=chosen)).config
    if options.algorithm and config.astarpo.objective != chosen.astarpo.objective:
        raise UsageError(f"the objective is named twice: --algorithm {options.algorithm} and --astarpo.objective "
                         f"{config.astarpo.objective}")  # fmt: skip
    return config


def list_presets(console: Console) -> int:
    """Print the presets with their environments."""
    for name in preset_names():
        config = load_preset(name)
        arguments = f" {json.dumps(config.env.kwargs)}" if config.env.kwargs else ""
        console.print(f"{name:<28}{short_name(config.env.id)}{arguments}")
    return 0


def dry_run(config: TrainConfig, folder: Path, console: Console) -> int:
    """Print what would run.

    Raises:
        UsageError: The objective is not there, or its packages.
    """
    find_objective(config)
    values, stage, easier = config.values, config.astarpo, len(config.curriculum.levels)
    stages = []
    if config.warm_start.enabled:
        stages.append(f"warm start until sampled success is between {config.warm_start.success_low:g} and "
                      f"{config.warm_start.success_high:g}")  # fmt: skip
    if import_trained("turngym.trainers.objectives").needs_stage_one(config):
        explorers = [f"temperature {temperature:g}" for temperature in values.explorer_temperatures]
        explorers += values.explorer_models
        stages.append(
            f"stage 1: {values.instances} instances, {values.samples} reference episodes each, "
            f"{values.extra_samples} more" + (f", explorers: {', '.join(explorers)}" if explorers else "")
        )
    stages.append(
        f"stage 2: {stage.steps} steps of {stage.batch_size} episodes, objective {stage.objective}"
        + (f", at most {stage.max_tokens} generated tokens" if stage.max_tokens else "")
        + (f", easier levels: {easier}" if easier else "")
        + (f", a new reference and its stage 1 every {stage.reset_every} steps" if stage.reset_every else "")
    )
    stages.append(f"measurement on {config.evaluation.episodes} test instances")
    console.print(write_toml(config), soft_wrap=True)
    console.print(f"# Would train in {folder}" + (", which exists already:" if folder.exists() else ":"))
    for number, line in enumerate(stages, start=1):
        console.print(f"# {number}. {line}", soft_wrap=True)
    return 0


def check_learner(config: TrainConfig) -> None:
    """Refuse what could be refused only after minutes, or only once the run folder exists.

    Raises:
        UsageError: The model, the objective or the packages they need are not there, the batch does not fit them, or
            an alarm is to do what it cannot.
    """
    shape = config.model
    if not shape.path and shape.hidden_size % (2 * shape.heads):
        raise UsageError(f"--model.hidden-size must be a multiple of {2 * shape.heads}, twice the heads, "
                         f"got {shape.hidden_size}")  # fmt: skip
    find_objective(config)
    try:
        import_trained("turngym.trainers.monitoring.alarms").check_action(config)
    except ValueError as error:
        raise UsageError(str(error)) from error


def find_objective(config: TrainConfig) -> Any:
    """Return the objective of a run.

    Raises:
        UsageError: There is none of this name, or the batch does not fit it.
    """
    try:
        return import_trained("turngym.trainers.objectives").chosen_objective(config)
    except ValueError as error:
        raise UsageError(str(error)) from error


def claim(folder: Path, config: TrainConfig) -> None:
    """Create the folder of a new run with its configuration.

    Raises:
        UsageError: The folder exists or cannot be created.
    """
    text = write_toml(config)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(
            f"{folder} exists already; continue it with --resume {shlex.quote(str(folder))}, or start another with "
            f"--run.name {shlex.quote(folder.name + '-b')}"
        ) from error
    except OSError as error:
        raise UsageError(f"{folder} cannot be created: {error.strerror}") from error
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


# Running ------------------------------------------------------------------------------------------------------------


def resume(options: TrainOptions, words: Sequence[str], console: Console) -> int:
    """Continue a run with the configuration it was started with, or show the result of one that is done.

    Raises:
        UsageError: It is no run, or the command line asks for another configuration.
    """
    folder = Path(options.resume)
    if not folder.is_dir():
        raise UsageError(f"there is no run folder {folder}")
    if options.game or options.preset:
        raise UsageError("--resume continues a run as it was started: leave out ENV and --preset")
    config = read_config(folder / CONFIG_FILE)
    wanted = read_settings(options, words, config)
    changed = changed_settings(config, wanted)
    if changed:
        raise UsageError(f"--resume continues a run as it was started: {changed[0]} cannot change")
    if options.dry_run:
        return dry_run(config, folder, console)
    if (folder / RESULT_FILE).is_file():
        console.print(f"{folder} is complete.")
        return finish(config, folder, read_result(folder), console)
    return execute(config, folder, console, resumed=True)


def execute(config: TrainConfig, folder: Path, console: Console, *, resumed: bool = False) -> int:
    """Train, and close with the table and the report; a run that is interrupted says how it goes on.

    Raises:
        Failure: Training ended in a way that it explains itself.
        UsageError: A model or checkpoint cannot be read.
    """
    trainer = import_trained("turngym.trainers.run")
    again = f"turngym train --resume {shlex.quote(str(folder))}"
    try:
        with TerminalProgress(console) as progress:
            result = trainer.train(config, folder, progress, resume=resumed)
    except KeyboardInterrupt:
        print(f"Stopped. Continue with: {again}", file=sys.stderr)
        return 130
    except _error_types(UNREADABLE) as error:
        raise UsageError(str(error)) from error
    except _error_types(FAILED) as error:
        raise Failure(f"{error} (the run is in {folder})") from error
    return finish(config, folder, result, console)


def _error_types(names: Sequence[str]) -> tuple[type[Exception], ...]:
    """Return the named exceptions; looked up only when something was raised, since their modules load torch."""
    parts = (name.partition(":") for name in names)
    return tuple(getattr(import_trained(module), kind) for module, _, kind in parts)


def finish(config: TrainConfig, folder: Path, result: dict[str, Any], console: Console) -> int:
    """Write the report and print the closing table."""
    notes = write_report(folder, result, write_toml(config))
    console.print(score_table(result_rows(result), f"{config.env.id}, test split"))
    for note in filter(None, [alarm_line(result), *notes]):
        console.print(note)
    console.print(f"Report: {folder / REPORT_FILE}")
    console.print(f"Watch it play: turngym play {short_name(config.env.id)} --agent {shlex.quote(str(folder))}")
    return 0


def read_result(folder: Path) -> dict[str, Any]:
    """Read the result of a complete run.

    Raises:
        UsageError: The file is damaged.
    """
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / RESULT_FILE} cannot be read: {error}") from error
    if not isinstance(result, dict):
        raise UsageError(f"{folder / RESULT_FILE} holds no result")
    return result
