"""The checkpoint of a warm start, from which a course that was stopped or killed goes on with the same bits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from turngym.agents.models.sharding import mesh_of
from turngym.trainers import ranks
from turngym.trainers.checkpoints.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    prune,
    save_checkpoint,
)
from turngym.trainers.checkpoints.models import save_model
from turngym.trainers.warm_start.course import Course

PAUSE = 60.0
"""Least seconds between two checkpoints while a course lasts, which is the most that a killed run loses."""
PAUSE_FACTOR = 20.0
"""Least pause in units of the time that a checkpoint takes, so that large models spend it on learning."""


class CourseCheckpoints:
    """Keeps a course in a folder while it lasts.

    Args:
        folder: The folder, which need not exist.
        tell: Told about a damaged checkpoint that is passed over.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        last = latest_checkpoint(folder, tell=tell)
        self.found: Checkpoint | None = None if last is None else load_checkpoint(last)
        """The checkpoint that an earlier process left."""
        self._next = time.monotonic() + PAUSE

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        return time.monotonic() >= self._next

    def restore(self, course: Course) -> None:
        """Go on from the checkpoint that was found, if there is one; the model of the course is that of it."""
        if self.found is not None:
            course.load_state_dict(self.found.extra, self.found.optimizer_state(mesh_of(course.model.learned)))

    def save(self, course: Course) -> None:
        """Save a course, and delete its earlier checkpoint."""
        began = time.monotonic()
        save_checkpoint(
            self._folder, course.steps_taken, save_policy=lambda path: save_model(course.model, path),
            optimizer_state=course.tensors(), extra=course.state_dict(),
        )  # fmt: skip
        ranks.once(lambda: prune(self._folder, keep=1))
        now = time.monotonic()
        self._next = now + max(PAUSE, PAUSE_FACTOR * (now - began))

    def remove(self) -> None:
        """Delete the checkpoints of a course whose result is saved."""
        ranks.once(lambda: shutil.rmtree(self._folder.resolve(), ignore_errors=True))
