"""The runs of a sweep: where each lies, how far it is, and how it is begun or gone on with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from turngym._errors import InputError
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.configure import with_absolute_paths
from turngym.trainers.launch.resuming import FREE, begin_resume, changes
from turngym.trainers.launch.run_folder import claimed, run_config, share_base
from turngym.trainers.run_files import BASE, CONFIG_FILE, RESULT_FILE
from turngym.trainers.run_lock import run_lock
from turngym.trainers.sweeps.bases import makes_base

State = Literal["new", "begun", "done"]
PLACES = {"run.name", "run.root", "run.import_folder"}
"""Settings that say where a run lies, which may be moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run of a sweep, or a base."""

    config: TrainConfig
    """Its configuration, place included. That of a base is the configuration of one of the runs that begin from it."""
    base: Path | None = None
    """The folder of the run whose base it begins from; None for a base."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.config.run.root) / self.config.run.name

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.config.run.name


def state_of(run: PlannedRun) -> State:
    """Return whether a run is yet to begin, has begun or is done; a base is done when it is whole."""
    end = run.folder / (BASE if run.base is None else RESULT_FILE)
    if end.exists():
        return "done"
    return "begun" if (run.folder / CONFIG_FILE).is_file() else "new"


def check_begun(run: PlannedRun) -> None:
    """Check that what lies in the folder of a run is that run, as far as it has come.

    Raises:
        InputError: It was begun with other settings, by another version, or cannot be read; the message says which.
    """
    if not (run.folder / CONFIG_FILE).is_file():
        return
    different = {setting: pair for setting, pair in changes(with_absolute_paths(run_config(run.folder)),
                 as_begun(run)).items() if setting not in FREE | PLACES}  # fmt: skip
    if run.base is None:
        different = {setting: pair for setting, pair in different.items() if makes_base(setting)}
    if different:
        told = ", ".join(f"{setting} {old!r}, not {new!r}" for setting, (old, new) in different.items())
        raise InputError(f"{run.folder} was begun with {told}: give this sweep a name of its own with --run.name, or "
                         "leave out what has changed")  # fmt: skip


def as_begun(run: PlannedRun) -> TrainConfig:
    """Return the configuration of a run with the places, the day and the commit that its folder was begun with."""
    begun = run_config(run.folder)
    config = _same_model(run.config, begun)
    return replace(config, run=replace(config.run, name=begun.run.name, root=begun.run.root))


def _same_model(config: TrainConfig, begun: TrainConfig) -> TrainConfig:
    """Return a configuration whose checkpoint is of the commit, and shows the day, that another one has."""
    if not config.model.path or config.model.path != begun.model.path:
        return config
    return replace(config, model=replace(config.model, date=begun.model.date, revision=begun.model.revision))


def begin(run: PlannedRun) -> None:
    """Make the folder of a run, with the base it shares, so that `turngym train --resume` goes on with it.

    Of a folder that was begun before, what may change freely is changed to what is asked for now.

    Raises:
        InputError: The folder holds something else, is in use, or cannot be created.
        OSError: The base is not there, or cannot be linked or copied.
    """
    if not (run.folder / CONFIG_FILE).is_file():
        config = run.config if run.base is None else _same_model(run.config, run_config(run.base))
        with claimed(run.folder, config):
            _take_base(run)
        return
    with run_lock(run.folder):
        if run.base is not None:
            begin_resume(run.folder, as_begun(run), [])
        _take_base(run)


def _take_base(run: PlannedRun) -> None:
    if run.base is not None:
        share_base(run.base, run.folder)
