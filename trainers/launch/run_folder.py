"""What a run folder holds: its weights and its configuration, read to continue a run or to load its agent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from turngym._errors import InputError, input_errors
from turngym._version import __version__
from turngym.agents.decoding import Decoding
from turngym.plugins import require_plugins
from turngym.trainers.config import TrainConfig, imported_by, parse_env_and_model, parse_toml, written_by
from turngym.trainers.launch.presets import read_config_text
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import CHECKPOINTS, CONFIG_FILE, METRICS_FILE, RESULT_FILE


def saved_steps(folder: Path) -> list[tuple[int, Path]]:
    """Return the steps of a run's checkpoints and their folders, the last first; copies by other names do not count."""
    named = [(re.fullmatch(r"step-(\d+)(\.old)?", path.name), path) for path in (folder / CHECKPOINTS).glob("step-*")]
    return sorted(((int(match[1]), path) for match, path in named if match), key=lambda pair: (-pair[0], pair[1].name))


def policy_folder(folder: Path) -> Path:
    """Return the folder with the weights: of a run its last checkpoint, of a checkpoint its policy.

    Raises:
        InputError: There are none.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    if (folder / "config.json").is_file():
        return folder
    if (folder / "policy" / "config.json").is_file():
        return folder / "policy"
    for _, path in saved_steps(folder):
        if (path / "policy" / "config.json").is_file():
            return path / "policy"
    if (folder / CONFIG_FILE).is_file():
        raise InputError(f"the run {folder} has no checkpoint yet; continue it with: turngym train --resume {folder}")
    raise InputError(f"{folder} is neither a run nor a checkpoint: it has no {CONFIG_FILE} and no config.json")


def agent_config(weights: Path) -> TrainConfig | None:
    """Return what the run that a folder of weights lies in says about environment and model, None outside of runs.

    A run of another version is read too. What it imports is imported.

    Raises:
        InputError: The configuration cannot be read, or names a module that cannot be imported.
    """
    for parent in [weights, *weights.absolute().parents][:4]:
        if (parent / CONFIG_FILE).is_file():
            text, source = read_config_text(parent / CONFIG_FILE), str(parent / CONFIG_FILE)
            require_plugins(imported_by(text, source=source))
            return parse_env_and_model(text, source=source)
    return None


def decoding_of(weights: Path) -> Decoding:
    """Return the limits and the temperature by which the model in a folder plays, unless told otherwise.

    These are kept beside the weights; where nothing is, the run around them tells, and else the defaults of training.

    Raises:
        InputError: The file or the configuration cannot be read.
    """
    with input_errors():
        kept = Decoding.read(weights)
    return kept or (agent_config(weights) or TrainConfig()).decoding


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
