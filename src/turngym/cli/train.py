"""`turngym train`: from an environment's name to a trained model, a table and a run folder."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from rich.console import Console
from tyro.conf import FlagConversionOff, Positional, arg

from turngym._errors import InputError, file_error
from turngym.cli.errors import Failure, UsageError
from turngym.cli.models import import_trained, require_trained
from turngym.cli.options import Flag, flags_of, grouped, parse
from turngym.cli.printable import printable
from turngym.cli.report import CURVE_FILE, REPORT_FILE, alarm_line, score_table, write_report
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.cli.train_help import short_help
from turngym.envs.finding import short_name
from turngym.trainers.config import (
    OBJECTIVE_CONFIGS,
    TrainConfig,
    readers_of,
    sections,
    with_algorithm,
    write_toml,
)
from turngym.trainers.interrupt import exit_code, undisturbed
from turngym.trainers.launch.configure import configure, starting_point, with_commit
from turngym.trainers.launch.presets import load_preset, preset_names
from turngym.trainers.launch.replaying import begin_replay, plan_replay
from turngym.trainers.launch.resuming import begin_resume, moved_schedules, plan_resume
from turngym.trainers.launch.run_folder import check_free, claimed
from turngym.trainers.reporting.tables import result_rows, table_notes
from turngym.trainers.reporting.trackers import Tracker, check_packages, tracking
from turngym.trainers.run_files import BASE, RESULT_FILE
from turngym.trainers.run_lock import check_unused, run_lock
from turngym.trainers.torchrun import is_first, launched

Planned = TypeVar("Planned")

UNREADABLE = (
    "turngym.agents.models.language_model:CheckpointError",
    "turngym.trainers.checkpoints.checkpoint:CheckpointError",
    "turngym.trainers.stage_one.store_file:ValueStoreError",
)
"""Errors of training that are about its input."""
LOST = ("turngym.trainers.ranks:LostRankError",)
"""What ends a training of several processes when one of them has ended."""
FAILED = (
    "turngym.agents.models.language_model:NonFiniteError",
    "turngym.trainers.monitoring.alarms:AlarmError",
    "turngym.agents.rollout:PlayError",
    "turngym.trainers.objectives.registry:ObjectiveError",
    "turngym.trainers.warm_start.course:WarmStartError",
)
"""Errors of training that end it for a reason they explain."""
STOPPED = "Stopped. Continue with:"
"""What is said after a signal, before the command that continues the run."""
LEFT = "{}. What was saved is whole; continue with:"
"""What is said after an error that spares what was saved."""


@dataclass(frozen=True)
class TrainOptions:
    """Teach a language model to play an environment: warm start, stage 1 (values), stage 2, measurement."""

    game: Annotated[Positional[str], arg(metavar="ENV")] = ""
    """The environment, such as FrozenLake or my_games:me/Guess-v0; its preset gives the settings that no option
    names."""
    algorithm: str = ""
    """What to learn by; its own settings stand in the section `objective`."""
    preset: str = ""
    """A preset of the package or of a plugin, or a configuration file."""
    list_presets: bool = False
    """List the presets and stop."""
    dry_run: bool = False
    """Print the resolved configuration and what would run, touch nothing, and refuse what the run would refuse."""
    processes: Annotated[int, arg(metavar="N")] = 0
    """With --dry-run: how many processes of torchrun the memory is computed for."""
    resume: str = ""
    """A run folder to continue where it was stopped."""
    replay: str = ""
    """A run folder to repeat in a new one, with what was changed in it live, to the same bits."""
    base_only: bool = False
    """Stop when the model before reinforcement learning is made; `--resume` goes on from there."""
    config: Annotated[TrainConfig, arg(name=""), FlagConversionOff] = field(default_factory=TrainConfig)
    """The settings."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the words of a command name, before its settings can be read."""

    game: str = ""
    algorithm: str = ""
    preset: str = ""
    resume: str = ""
    replay: str = ""
    help: str = ""
    settings: frozenset[str] = frozenset()
    """Settings that have an option of their own, such as "learning.learning_rate"."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code; of several processes that torchrun has started, the first one does."""
    if launched() == 1:
        return lead(words)
    if not is_first():
        return follow()
    with import_trained("turngym.trainers.ranks").joined():
        return lead(words)


def follow() -> int:
    """Help the first process, and return the exit code."""
    training = import_trained("turngym.trainers.launch.training")
    folders: list[Path] = []
    try:
        training.follow(folders.append)
    except KeyboardInterrupt as stop:
        _last_word(STOPPED, folders)
        return exit_code(stop)
    except _error_types(LOST) as error:
        _last_word(f"turngym: {LEFT.format(error)}", folders)
        return 1
    except _error_types((*UNREADABLE, *FAILED)) as error:  # in all processes, or in this one alone
        print(printable(f"turngym, process {os.environ['RANK']}: {error}"), file=sys.stderr)
        return 1
    return 0


def lead(words: Sequence[str]) -> int:
    """Run the command in the first process or the only one."""
    named = names(words)
    console = make_console()
    if named.help:
        show_help(named, console)
    if "--list-presets" in words or "--list_presets" in words:
        return list_presets(console)
    if named.resume:
        return resume(named, words, console)
    if named.replay:
        return replay(named, words, console)
    if not named.game and not named.preset:
        raise UsageError("train needs ENV, such as FrozenLake; see turngym train --help")
    options = TrainOptions()

    def settings(chosen: TrainConfig) -> TrainConfig:
        nonlocal options
        options = read(words, chosen)
        return options.config

    config = configure(named.game or None, preset=named.preset or None, algorithm=named.algorithm or None,
                       overrides=settings)  # fmt: skip
    folder = Path(config.run.root) / config.run.name
    require_trained()
    checking = import_trained("turngym.trainers.launch.checking")
    config = checking.with_usual_settings(with_commit(config), named.preset or None, named.settings)
    check_processes(options)
    estimate = checking.check_run(config, asked=options.processes)
    if options.dry_run:
        dry_run(config, folder, console, options.processes)
        check_free(folder)
        return 0
    check_alone(base_only=options.base_only)
    if estimate is not None:
        cloning = f", cloning {config.warm_start.learning_rate:g}" if config.warm_start.enabled else ""
        console.print(f"learning rate: {config.learning.learning_rate:g} to {config.learning.final_rate:g}{cloning}")
        each = " of each process" if estimate.processes > 1 else ""
        console.print(f"memory{each}: up to {estimate.peak / 1e9:.3g} GB, in {estimate.largest.name}", soft_wrap=True)
    with claimed(folder, config):
        return execute(config, folder, console, base_only=options.base_only)


# What to run --------------------------------------------------------------------------------------------------------


def names(words: Sequence[str]) -> Named:
    """Return what the words name: environment, algorithm, preset or run.

    Raises:
        UsageError: One of them is named twice.
    """
    found: dict[str, str] = {}
    settings = set()
    for given in grouped(words, train_flags()):
        if given.words[0] in ("-h", "--help", "--help-all"):
            found["help"] = given.words[0]
        elif not given.flag:
            _enter(found, "game", given.values[0])
        else:
            settings.add(given.setting)
        if given.flag in ("--algorithm", "--preset", "--resume", "--replay", "--env.id") and given.values:
            _enter(found, "game" if given.flag == "--env.id" else given.flag.removeprefix("--"), given.values[0])
    return Named(**found, settings=frozenset(settings))


def train_flags() -> list[Flag]:
    """Return the flags of `turngym train`, with those of every objective."""
    flags = [*flags_of(TrainOptions)]
    for kind in OBJECTIVE_CONFIGS.values():
        flags += flags_of(kind, "--objective.", switches=False)
    return flags


def _enter(found: dict[str, str], what: str, value: str) -> None:
    if what in found:
        called = {"game": "the environment", "resume": "the run", "replay": "the run"}.get(what, f"--{what}")
        raise UsageError(f"{called} is named twice: {found[what]} and {value}")
    found[what] = value


def read(words: Sequence[str], chosen: TrainConfig) -> TrainOptions:
    """Return the options, with settings that no word names as they are in `chosen`."""

    def explain(flag: str) -> str | None:
        section, _, setting = flag.removeprefix("--").replace("-", "_").partition(".")
        readers = readers_of(setting) if section == "objective" else []
        if not readers:
            return None
        return (f"{chosen.objective.name} does not read {flag}; {', '.join(readers)} "
                f"{'do' if readers[1:] else 'does'}: choose one with --algorithm, or leave it out")  # fmt: skip

    with suppress(UsageError, InputError):
        return _read_named(words, chosen)
    return parse(TrainOptions, words, command="train", default=TrainOptions(config=chosen), explain=explain)


def _read_named(words: Sequence[str], chosen: TrainConfig) -> TrainOptions:
    """Return the options as `read` does, from the sections alone that a word names: the fewer, the sooner.

    Raises:
        UsageError: They cannot be read; `read` then says why, with all sections in view.
        InputError: Sections do not go together.
    """
    named = {given.setting.partition(".")[0] for given in grouped(words, train_flags()) if given.flag}
    parts = [(name, type(section), section) for name, section in sections(chosen).items() if name in named]
    part: Any = make_dataclass("Named", parts)
    config = Annotated[part, arg(name=""), FlagConversionOff]
    kind: Any = make_dataclass("TrainOptions", [("config", config)], bases=(TrainOptions,), kw_only=True, frozen=True)
    read: Any = parse(kind, words, command="train", default=kind(config=part()))
    own = {name: getattr(read.config, name) for name, _, _ in parts}
    given = {option.name: getattr(read, option.name) for option in fields(TrainOptions) if option.name != "config"}
    return TrainOptions(**given, config=replace(chosen, **own))


def show_help(named: Named, console: Console) -> NoReturn:
    """Print the help for an environment and an algorithm, if they are named: in short, or all of it.

    Raises:
        SystemExit: Always, as the option parser ends after its help.
    """
    base = starting_point(named.game or None, named.preset or None) if named.game or named.preset else TrainConfig()
    if named.algorithm:
        base = with_algorithm(base, named.algorithm)
    if named.help == "--help-all":
        parse(TrainOptions, ["--help"], command="train", default=TrainOptions(config=base))
    console.print(short_help(TrainOptions, base), soft_wrap=True)
    raise SystemExit(0)


def list_presets(console: Console) -> int:
    """Print the presets with their environments."""
    for name in preset_names():
        config = load_preset(name)
        arguments = f" {json.dumps(config.env.kwargs)}" if config.env.kwargs else ""
        console.print(f"{name:<28}{short_name(config.env.id)}{arguments}")
    return 0


def dry_run(config: TrainConfig, folder: Path, console: Console, processes: int = 0) -> None:
    """Print what would run, with the memory of so many processes; 0 for as many as there are."""
    values, learning, easier = config.values, config.learning, len(config.curriculum.levels)
    stages = []
    if config.warm_start.enabled:
        stages.append(f"warm start until sampled success is between {config.warm_start.success_low:g} and "
                      f"{config.warm_start.success_high:g}")  # fmt: skip
    if config.needs_stage_one:
        explorers = [f"temperature {temperature:g}" for temperature in values.explorer_temperatures]
        explorers += [*values.explorer_models, *values.explorer_agents]
        apart = f" in {values.explorer_processes} processes" if explorers and values.explorer_processes else ""
        stages.append(
            f"stage 1: {values.instances} instances, {values.samples} reference episodes each, "
            f"{values.extra_samples} more" + (f", explorers{apart}: {', '.join(explorers)}" if explorers else "")
        )
    stages.append(
        f"stage 2: {learning.steps} steps of {learning.batch_size} episodes, objective {config.objective.name}"
        + (f", at most {learning.max_tokens} generated tokens" if learning.max_tokens else "")
        + (f", easier levels: {easier}" if easier else "")
        + (f", a new reference and its stage 1 every {learning.reset_every} steps" if learning.reset_every else "")
    )
    stages.append(f"measurement on {config.evaluation.episodes} test instances")
    console.print(write_toml(config), soft_wrap=True)
    console.print(f"# Would train in {folder}:", soft_wrap=True)
    for number, line in enumerate(stages, start=1):
        console.print(f"# {number}. {line}", soft_wrap=True)
    if config.model.path:
        for told in filter(None, (config.decoding.history_form, config.model.limits_told)):
            console.print(f"# {told}", soft_wrap=True)
    count = processes or launched()
    memory = import_trained("turngym.trainers.memory")
    estimate = memory.estimate_memory(config, memory.ModelShape.configured(config), processes=count)
    each = f" of each of {count} processes" if count > 1 else ""
    console.print(f"# Memory{each}, computed from the configuration, GB:")
    for name, size in estimate.rows():
        console.print(f"#    {size:>6}  {name}", soft_wrap=True)


# Running ------------------------------------------------------------------------------------------------------------


def resume(named: Named, words: Sequence[str], console: Console) -> int:
    """Continue a run, or show the result of one that is done.

    Raises:
        UsageError: It is no run of this version, or the command line asks for what cannot change.
    """
    folder = Path(named.resume)
    if named.game or named.preset or named.algorithm:
        raise UsageError("--resume continues a run as it was started: leave out ENV, --preset and --algorithm")
    (config, branched), options = planned(plan_resume, folder, words)
    check_packages(config.run.trackers)
    check_processes(options)
    moved = moved_schedules(folder, config)
    if options.dry_run:
        dry_run(config, folder, console, options.processes)
        for line in moved:
            console.print(f"# {line}", soft_wrap=True)
        check_unused(folder)
        return 0
    check_alone(base_only=options.base_only)
    if (folder / RESULT_FILE).is_file() and not branched:
        console.print(f"{folder} is complete.", soft_wrap=True)
        return finish(config, folder, import_trained("turngym.trainers.launch.training").read_result(folder), console)
    with run_lock(folder):
        begin_resume(folder, config, branched)
        if branched:
            console.print(f"A new branch of the run: {', '.join(branched)}.")
        for line in moved:
            console.print(line, soft_wrap=True)
        return execute(config, folder, console, resumed=True, base_only=options.base_only)


def planned(
    plan: Callable[[Path, Callable[[TrainConfig], TrainConfig]], Planned], folder: Path, words: Sequence[str]
) -> tuple[Planned, TrainOptions]:
    """Return what is planned with a run whose settings the words may change, and the options."""
    options = TrainOptions()

    def settings(saved: TrainConfig) -> TrainConfig:
        nonlocal options
        options = read(words, saved)
        return options.config

    return plan(folder, settings), options


def check_processes(options: TrainOptions) -> None:
    """Check that a number of processes is only asked about.

    Raises:
        UsageError: It is below 0, or a run is to begin with it.
    """
    if options.processes < 0:
        raise UsageError(f"--processes must be at least 1, got {options.processes}")
    if options.processes and not options.dry_run:
        raise UsageError("--processes says what --dry-run computes the memory for; processes are started by "
                         f"torchrun --nproc-per-node {options.processes} -m turngym train ...")  # fmt: skip


def replay(named: Named, words: Sequence[str], console: Console) -> int:
    """Repeat a run in a new folder, with what was changed in it live.

    Raises:
        UsageError: It is no run of this version, or the command line asks for what would make it another run.
    """
    source = Path(named.replay)
    if named.game or named.preset or named.algorithm:
        raise UsageError("--replay repeats a run as it was: leave out ENV, --preset and --algorithm")
    config, options = planned(plan_replay, source, words)
    folder = Path(config.run.root) / config.run.name
    check_packages(config.run.trackers)
    check_processes(options)
    if options.dry_run:
        dry_run(config, folder, console, options.processes)
        check_free(folder)
        return 0
    check_alone(base_only=options.base_only)
    with claimed(folder, config):
        count = begin_replay(source, folder)
        console.print(f"{folder} repeats {source}, with {count} live change{'s' * (count != 1)}.", soft_wrap=True)
        return execute(config, folder, console, base_only=options.base_only)


def check_alone(*, base_only: bool) -> None:
    """Check that what one process does alone is asked of one process.

    Raises:
        UsageError: Several processes are asked for a base alone.
    """
    if base_only and launched() > 1:
        raise UsageError("--base-only is for one process: leave out torchrun, or make the whole run")


def execute(
    config: TrainConfig, folder: Path, console: Console, *, resumed: bool = False, base_only: bool = False
) -> int:
    """Train, and close with the table and the report; a run that is interrupted says how it goes on.

    Raises:
        Failure: Training ended in a way that it explains itself.
        UsageError: A model or checkpoint cannot be read.
    """
    training = import_trained("turngym.trainers.launch.training")
    again = _again(folder)
    try:
        with tracking(config.run.trackers, folder, asdict(config)) as trackers:
            with TerminalProgress(console) as progress:
                if base_only:
                    import_trained("turngym.trainers.run").make_base(config, folder, progress, trackers=trackers)
                    progress.note(f"{folder / BASE} is the base. Continue with: {again}")
                    return 0
                result = training.train_together(config, folder, progress, resume=resumed, trackers=trackers)
            return finish(config, folder, result, console, trackers)
    except KeyboardInterrupt as stop:
        _last_word(STOPPED, [folder])
        return exit_code(stop)
    except _error_types(LOST) as error:
        _last_word(f"turngym: {LEFT.format(error)}", [folder])
        return 1
    except _error_types(UNREADABLE) as error:
        raise UsageError(str(error)) from error
    except _error_types(FAILED) as error:
        raise Failure(f"{error} (the run is in {folder})") from error
    except Exception as error:
        refused = file_error(error)
        if refused is None:
            raise
        raise Failure(f"{LEFT.format(refused)} {again}") from error


def _last_word(text: str, folders: Sequence[Path]) -> None:
    """Say how the training in the last of the folders goes on; of several processes that end, one does."""
    with undisturbed():  # by torchrun, which tells all processes to stop when one has ended
        if folders and (launched() == 1 or import_trained("turngym.trainers.ranks").has_last_word()):
            print(printable(f"{text} {_again(folders[-1])}"), file=sys.stderr)


def _again(folder: Path) -> str:
    """Return the command that continues a run with as many processes as there are."""
    count = launched()
    command = "turngym" if count == 1 else f"torchrun --nproc-per-node {count} -m turngym"
    return f"{command} train --resume {shlex.quote(str(folder))}"


def _error_types(names: Sequence[str]) -> tuple[type[Exception], ...]:
    """Return the named exceptions; looked up only when something was raised, since their modules load torch."""
    parts = (name.partition(":") for name in names)
    return tuple(getattr(import_trained(module), kind) for module, _, kind in parts)


def finish(
    config: TrainConfig, folder: Path, result: dict[str, Any], console: Console, trackers: Sequence[Tracker] = ()
) -> int:
    """Print the closing table and write the report, where the folder takes one; trackers get the picture too."""
    try:
        notes = [*write_report(folder, result, write_toml(config)), f"Report: {folder / REPORT_FILE}"]
    except OSError as error:
        notes = [f"No report was written: {file_error(error)}"]
    rows = result_rows(result)
    console.print(score_table(rows, f"{config.env.id}, test split"))
    for tracker in trackers:
        if (folder / CURVE_FILE).is_file():
            tracker.picture("learning_curve", folder / CURVE_FILE)
    for note in filter(None, [*table_notes(rows), alarm_line(result), *notes]):
        console.print(note)
    console.print(f"Watch it play: turngym play {config.env.id} --agent {shlex.quote(str(folder))}", soft_wrap=True)
    return 0
