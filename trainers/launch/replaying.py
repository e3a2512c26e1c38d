"""A run that repeats another one, with what was changed in it while it learned, to the same bits.

The new run has the configuration, the seed and the base of the other one, and begins with its record of live changes,
which it takes at the same steps. What the other one was told between a stop and `--resume` is not in its record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from turngym._errors import InputError
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.resuming import FREE, changes
from turngym.trainers.launch.run_folder import run_config, share_base
from turngym.trainers.live.changes import read_changes, write_changes
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import BASE, LIVE_CHANGES_FILE, METRICS_FILE

PLACE = {"run.name", "run.root"}
"""Settings that say where a run lies."""


def plan_replay(folder: Path, change: Callable[[TrainConfig], TrainConfig]) -> TrainConfig:
    """Return the configuration of a run that repeats another one; nothing is created yet.

    Args:
        folder: The run that is repeated.
        change: Sets what is asked for: a name, or what does not touch what is learned.

    Raises:
        InputError: It is no run of this version, went on with other settings, or another one is asked for.
    """
    saved = run_config(folder)
    saved = replace(saved, run=replace(saved.run, name=f"{folder.absolute().name}-replay"))
    wanted = change(saved)
    for setting, (old, new) in changes(saved, wanted).items():
        if setting not in FREE | PLACE:
            raise InputError(f"--replay cannot change {setting} from {old!r} to {new!r}: it repeats the run as it was; "
                             "leave it out, or start another run")  # fmt: skip
    branches = [line for line in Metrics(folder / METRICS_FILE).lines() if line["phase"] == "branch"]
    if branches:
        raise InputError(f"{folder} cannot be repeated: it went on with other settings after a stop "
                         f"({', '.join(branches[0]['changed'])}), and only live changes are on its record")  # fmt: skip
    read_changes(folder / LIVE_CHANGES_FILE)  # what is damaged is said before a folder is made
    return wanted


def begin_replay(source: Path, target: Path) -> int:
    """Give a new run the record and the base of the run that it repeats, and return how many changes are to come.

    Args:
        source: The run that is repeated.
        target: The folder of the new run.
    """
    record = read_changes(source / LIVE_CHANGES_FILE)
    if record:
        write_changes(target / LIVE_CHANGES_FILE, record)
    if (source / BASE).is_dir():  # without one it is made once more
        share_base(source, target)
    return len(record)
