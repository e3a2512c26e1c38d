"""What a run folder holds: its checkpoints and its configuration, read to continue a run or to load its agent."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from turngym._errors import InputError, InputWarning
from turngym._version import __version__
from turngym.plugins import require_plugins
from turngym.trainers.config import TrainConfig, imported_by, parse_known, parse_toml, written_by
from turngym.trainers.launch.presets import read_config_text
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import CHECKPOINTS, CONFIG_FILE, METRICS_FILE, RESULT_FILE


def saved_steps(folder: Path) -> list[tuple[int, Path]]:
    """Return the steps of a run's checkpoints and their folders, the last first; copies by other names do not count."""
    named = [(re.fullmatch(r"step-(\d+)(\.old)?", path.name), path) for path in (folder / CHECKPOINTS).glob("step-*")]
    return sorted(((int(match[1]), path) for match, path in named if match), key=lambda pair: (-pair[0], pair[1].name))


def agent_config(weights: Path) -> TrainConfig | None:
    """Return the configuration of the run that a folder of weights lies in, None outside of runs.

    A run of another version is read too; see `known_config`.

    Raises:
        InputError: The configuration cannot be read, or names a module that cannot be imported.
    """
    for parent in [weights, *weights.absolute().parents][:4]:
        if (parent / CONFIG_FILE).is_file():
            return known_config(parent)
    return None


def known_config(folder: Path) -> TrainConfig:
    """Return what this version knows of the configuration of a run of any version, and import what it imports.

    Settings that are unknown here are named in a warning; a run that is continued needs all, see `run_config`.

    Raises:
        InputError: The configuration cannot be read, or names a module that cannot be imported.
    """
    text, source = read_config_text(folder / CONFIG_FILE), str(folder / CONFIG_FILE)
    require_plugins(imported_by(text, source=source))
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
    text, source = read_config_text(folder / CONFIG_FILE), str(folder / CONFIG_FILE)
    writer = written_by(text, source=source)
    if writer != f"turngym {__version__}":
        raise InputError(f"{folder} was written by {writer}, and this is {__version__}, which may learn "
                         "differently: finish it with that version, or start another run from its policy with "
                         "--model.path; turngym evaluate and turngym play read it as it is")  # fmt: skip
    require_plugins(imported_by(text, source=source))
    return parse_toml(text, source=source)


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
