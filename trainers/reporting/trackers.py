"""Trackers: TensorBoard and Weights & Biases get the numbers of a run, beside `metrics.jsonl`.

Both get every line of the metrics once. A run that was interrupted repeats steps with the same numbers, so a tracker
keeps a list of the lines that it was sent, in the run's folder, and skips them. Steps that a rollback repeats have
other numbers; they are lines of their own, told apart by `rollbacks`. Neither package is imported before a tracker is
made.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from turngym._errors import InputError
from turngym.extras import install_command
from turngym.trainers.reporting.sent import Sent, flat_numbers, flat_settings, group, line_key, markdown_table

TrackerName = Literal["tensorboard", "wandb"]
"""A tracker, its package, and the extra of turngym that installs it."""
PROJECT = "turngym"
"""The project of Weights & Biases, unless WANDB_PROJECT names another."""


class TrackerError(InputError):
    """A tracker cannot be used; the message says what to do."""


class Tracker(Protocol):
    """Shows the numbers of a run."""

    def scalars(self, phase: str, step: int, numbers: Mapping[str, Any]) -> None:
        """Take a line of the metrics.

        Args:
            phase: Its phase.
            step: Its step or, in a phase without steps, its place among the lines of the phase, from 1.
            numbers: The line; the tracker takes the numbers that `flat_numbers` returns.
        """

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Take a table, once under each name."""

    def picture(self, name: str, path: Path) -> None:
        """Take a picture in a file, once under each name."""

    def close(self) -> None:
        """Write what is not written yet; the tracker is not used afterwards."""


def check_packages(names: Sequence[TrackerName]) -> None:
    """Look for the packages of trackers, without importing them.

    Raises:
        TrackerError: One is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise TrackerError(f"tracking with {name} needs its package: {install_command(name)}")


def make_trackers(names: Sequence[TrackerName], folder: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """Return the trackers of a new or a resumed run.

    Args:
        names: The trackers; each is made once.
        folder: The run's folder, whose name is the run's.
        config: The configuration, as nested tables.

    Raises:
        TrackerError: A package is not installed, or Weights & Biases does not let the run begin.
    """
    check_packages(names)
    trackers: list[Tracker] = []
    if "tensorboard" in names:
        trackers.append(TensorBoardTracker(folder, config))
    if "wandb" in names:
        trackers.append(WandbTracker(folder, os.environ.get("WANDB_PROJECT", PROJECT), folder.name, config))
    return trackers


@contextmanager
def tracking(names: Sequence[TrackerName], folder: Path, config: Mapping[str, Any]) -> Iterator[list[Tracker]]:
    """Yield the trackers of `make_trackers`, and close them at the end."""
    trackers = make_trackers(names, folder, config)
    try:
        yield trackers
    finally:
        for tracker in trackers:
            tracker.close()


# The trackers -------------------------------------------------------------------------------------------------------


class TensorBoardTracker:
    """Writes event files into `tensorboard/`, for `tensorboard --logdir`.

    Each rollback begins a run of its own, such as `rollback-1`, since a curve has one point at a step.

    Args:
        folder: The run's folder.
        config: The configuration, kept as text.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._folder = folder / "tensorboard"
        self._sent = Sent(self._folder / "sent.txt")
        self._make_writer = import_module("torch.utils.tensorboard").SummaryWriter
        self._writers: dict[int, Any] = {}
        self._text("config", markdown_table(["setting", "value"], list(flat_settings(config))))

    def scalars(self, phase: str, step: int, numbers: Mapping[str, Any]) -> None:
        """Take a line of the metrics."""
        if (key := line_key(phase, step, numbers)) in self._sent:
            return
        writer = self._writer(numbers.get("rollbacks", 0))
        for name, number in flat_numbers(numbers).items():
            if name != "step":
                writer.add_scalar(f"{group(phase, numbers)}/{name}", number, step)
        self._done(writer, key)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Take a table, as text."""
        self._text(name, markdown_table(columns, rows))

    def picture(self, name: str, path: Path) -> None:
        """Take a picture."""
        if (key := f"picture {name}") not in self._sent:
            with import_module("PIL.Image").open(path) as image:
                self._writer().add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")
            self._done(self._writer(), key)

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, rollbacks: int = 0) -> Any:
        if rollbacks not in self._writers:
            place = self._folder / f"rollback-{rollbacks}" if rollbacks else self._folder
            self._writers[rollbacks] = self._make_writer(log_dir=str(place))
        return self._writers[rollbacks]

    def _text(self, name: str, text: str) -> None:
        if (key := f"text {name}") not in self._sent:
            self._writer().add_text(name, text)
            self._done(self._writer(), key)

    def _done(self, writer: Any, key: str) -> None:
        writer.flush()
        self._sent.add(key)
        self._sent.save()


class WandbTracker:
    """Sends a run to Weights & Biases, or with WANDB_MODE=offline into `wandb/`, for `wandb sync`.

    Every phase has an axis of its own, such as "learning/step", so steps may begin anew. A resumed run keeps its id,
    and the step of Weights & Biases itself counts what was sent. What is logged is on the disk only seconds later,
    so after a crash all since the last `close` is sent again, under the same counts.

    Args:
        folder: The run's folder.
        project: The project.
        name: The run's name.
        config: The configuration.

    Raises:
        TrackerError: The run may not begin, for want of a login for example.
    """

    def __init__(self, folder: Path, project: str, name: str, config: Mapping[str, Any]) -> None:
        self._sent = Sent(folder / "wandb" / "sent.txt")
        self._wandb = import_module("wandb")
        self._groups: set[str] = set()
        try:
            self._run = self._wandb.init(
                project=project, name=name, config=dict(config), dir=str(folder), id=_run_id(folder / "wandb"),
                resume="allow", reinit="create_new", settings=self._wandb.Settings(console="off"),
            )  # fmt: skip
        except self._wandb.Error as error:
            raise TrackerError(
                f"Weights & Biases refuses the run: {error}; log in with `wandb login`, or set WANDB_MODE=offline"
            ) from error

    def scalars(self, phase: str, step: int, numbers: Mapping[str, Any]) -> None:
        """Take a line of the metrics."""
        prefix = group(phase, numbers)
        if prefix not in self._groups:
            self._groups.add(prefix)
            self._run.define_metric(f"{prefix}/step")
            self._run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step")
        values = {f"{prefix}/{name}": number for name, number in flat_numbers(numbers).items()}
        self._log(line_key(phase, step, numbers), {**values, f"{prefix}/step": step})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Take a table."""
        self._log(f"table {name}", {name: self._wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def picture(self, name: str, path: Path) -> None:
        """Take a picture."""
        self._log(f"picture {name}", {name: self._wandb.Image(str(path))})

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()
        self._sent.save()

    def _log(self, key: str, values: dict[str, Any]) -> None:
        if key in self._sent:
            return
        if len(self._sent) >= self._run.starting_step:  # the server has all before that
            self._run.log(values, step=len(self._sent), commit=True)
        self._sent.add(key)


def _run_id(folder: Path) -> str:
    """Return the id of a run, made up the first time."""
    path = folder / "run_id.txt"
    if not path.is_file():
        path.write_text(f"{uuid.uuid4().hex}\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
