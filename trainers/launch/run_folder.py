"""What a run folder holds: its checkpoints and its configuration, read to continue a run or to load its agent."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from turngym._durable import remove_unfinished, replacement
from turngym._errors import InputError, InputWarning
from turngym._version import __version__
from turngym.plugins import require_plugins
from turngym.trainers.config import TrainConfig, imported_by, names_env, parse_known, parse_toml, write_toml, written_by
from turngym.trainers.launch.presets import read_config_text
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import (
    BASE,
    CHECKPOINTS,
    CONFIG_FILE,
    LOCK_FILE,
    METRICS_FILE,
    REFERENCES,
    RESULT_FILE,
    USED_CONFIG_FILE,
)
from turngym.trainers.run_lock import check_unused, run_lock


def saved_steps(folder: Path) -> list[tuple[int, Path]]:
    """Return the steps of a run's checkpoints and their folders, the last first; copies by other names do not count."""
    named = [(re.fullmatch(r"step-(\d+)(\.old)?", path.name), path) for path in (folder / CHECKPOINTS).glob("step-*")]
    return sorted(((int(match[1]), path) for match, path in named if match), key=lambda pair: (-pair[0], pair[1].name))


def agent_config(weights: Path) -> TrainConfig | None:
    """Return the configuration of the run that a folder of weights lies in, None outside of runs.

    A run of another version is read too; see `known_config`. Above weights in places of the user's own, a `config.toml`
    may be of any program, and counts if it names an environment.

    Raises:
        InputError: The configuration cannot be read, or names a module that cannot be imported.
    """
    for place in (weights.absolute(), weights.resolve()):  # the weights or their run may be reached by a link
        for run in place.parents[:3]:
            own = place.relative_to(run).parts[0] in (BASE, REFERENCES, CHECKPOINTS)
            if (run / CONFIG_FILE).is_file() and (own or _names_env(run / CONFIG_FILE)):
                return known_config(run)
    return None


def _names_env(path: Path) -> bool:
    with suppress(InputError):
        return names_env(read_config_text(path), source=str(path))
    return False


def known_config(folder: Path) -> TrainConfig:
    """Return what this version knows of the configuration of a run of any version, and import what it imports.

    Settings that are unknown here are named in a warning; a run that is continued needs all, see `run_config`.

    Raises:
        InputError: The configuration cannot be read, or names a module that cannot be imported.
    """
    text, source = _config_text(folder / CONFIG_FILE), str(folder / CONFIG_FILE)
    require_plugins(*imported_by(text, source=source))
    config, passed_over = parse_known(text, source=source)
    if passed_over:
        warnings.warn(InputWarning(f"{source}, by {written_by(text, source=source)}, has settings that turngym "
                                   f"{__version__} cannot use: {', '.join(passed_over)}; they are passed "
                                   "over"), stacklevel=1)  # fmt: skip
    return config


def run_config(folder: Path) -> TrainConfig:
    """Return the configuration of a run of this version, and import what it imports.

    Raises:
        InputError: It is no run, it cannot be read, or another version wrote it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no run folder {folder}")
    text, source = _config_text(folder / CONFIG_FILE), str(folder / CONFIG_FILE)
    writer = written_by(text, source=source)
    if writer != f"turngym {__version__}":
        raise InputError(f"{folder} was written by {writer}, and this is {__version__}, which may learn "
                         "differently: finish it with that version, or start another run from its policy with "
                         "--model.path; turngym evaluate and turngym play read it as it is")  # fmt: skip
    require_plugins(*imported_by(text, source=source))
    return parse_toml(text, source=source)


def used_config(folder: Path) -> TrainConfig | None:
    """Return the configuration that a run was started or went on with last, None where that was not kept.

    Raises:
        InputError: It cannot be read.
    """
    path = folder / USED_CONFIG_FILE
    if not path.is_file():
        return None
    try:
        return parse_toml(_config_text(path), source=str(path))
    except InputError as error:
        raise InputError(f"{error}; delete it to go on as {folder / CONFIG_FILE} says") from error


def _config_text(path: Path) -> str:
    """Return the text of a run's configuration.

    Raises:
        InputError: It cannot be read, or has lost what every version writes.
    """
    text = read_config_text(path)
    if not names_env(text, source=str(path)):
        raise InputError(f"{path} is damaged: it names no environment (id in the section env)")
    return text


def save_config(folder: Path, config: TrainConfig) -> None:
    """Write the configuration of a run, for people and as what it went on with."""
    text = write_toml(config)
    for name in (USED_CONFIG_FILE, CONFIG_FILE):
        with replacement(folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


@contextmanager
def claimed(folder: Path, config: TrainConfig) -> Iterator[None]:
    """Create the folder of a new run with its configuration, and keep others out of it while the block runs.

    Raises:
        InputError: The folder holds something, is in use, or cannot be created.
    """
    check_free(folder)
    write_toml(config)  # before anything is created, since not every configuration has a form in TOML
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be created: {error.strerror}") from error
    with run_lock(folder):
        _check_empty(folder)  # again: another process may have been here first
        save_config(folder, config)
        yield


def check_free(folder: Path) -> None:
    """Check that a new run can have a folder; nothing is created.

    Raises:
        InputError: The folder holds something, is in use, or cannot be created.
    """
    check_unused(folder)
    _check_empty(folder)
    parent = next(parent for parent in folder.absolute().parents if parent.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise InputError(f"{folder} cannot be created: {parent} is no folder that can be written to")


def _check_empty(folder: Path) -> None:
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK_FILE}:
        return
    if folder.exists():
        this, another = shlex.quote(str(folder)), shlex.quote(f"{folder.name}-b")
        raise InputError(f"{folder} exists already; continue that run (--resume {this}, or resume=True), or name "
                         f"another: --run.name {another}")  # fmt: skip


def begin_branch(folder: Path, changes: Sequence[str]) -> None:
    """Take note in a run folder that learning goes another way from here on, and put its old result aside.

    Args:
        folder: The run's.
        changes: What changed, such as "learning.steps 60 -> 90".
    """
    metrics = Metrics(folder / METRICS_FILE)
    metrics.rewind()  # a line that a crash cut off must not swallow the next one
    metrics.add("branch", {"changed": list(changes), "version": __version__})
    result = folder / RESULT_FILE
    if result.exists():
        number = 1 + len(list(folder.glob("result-before-branch-*.json")))
        result.rename(folder / f"result-before-branch-{number}.json")


def share_base(source: Path, target: Path) -> None:
    """Give a run the base of another one, unless it has one; the files are the same ones where links can be made.

    Runs never write to the files of a base, and each may delete its own.

    Args:
        source: The run that has made the base.
        target: The folder of the other run; it must exist.

    Raises:
        OSError: The base is not there, or cannot be linked or copied.
    """
    if (target / BASE).is_dir():
        return
    remove_unfinished(target, f"{BASE}.*")
    with replacement(target / BASE) as unfinished:
        shutil.copytree(source / BASE, unfinished, copy_function=_link)


def _link(source: str, target: str) -> None:
    """Make a file appear at another place too, by a link or, across file systems, as a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
