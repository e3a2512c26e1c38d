"""The numbers of a run: a file with one JSON object a line, kept in step with the checkpoints."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from turngym.trainers.reporting.trackers import Tracker

STAGE_TWO = ("learning", "alarm", "reset")
"""The phases whose lines have a step."""


class Metrics:
    """Appends to `metrics.jsonl` and reads it back.

    The phase of a line is "warm_start", "values" (stage 1), "branch" (a resumed run with other settings), "learning",
    "alarm" or "reset"; lines of the last three have a step. After a rollback the steps continue from an earlier one and
    `rollbacks` is one more; earlier lines stay. A reset of the reference comes after its step.

    Args:
        path: The file; it need not exist.
        trackers: Sent every line: those in the file first, since a crash may have kept the last ones from a tracker,
            then those that are added.
    """

    def __init__(self, path: Path, trackers: Sequence[Tracker] = ()) -> None:
        self.path = path
        self._trackers = tuple(trackers)
        if self._trackers:
            counts: Counter[str] = Counter()
            for line in self.lines():
                phase = line.pop("phase")
                counts[phase] += 1
                self._pass_on(phase, counts[phase], line)

    def clear(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)

    def lines(self) -> list[dict[str, Any]]:
        """Return all complete lines; one cut off by a crash, and what is no line of metrics at all, is left out."""
        lines = []
        if self.path.is_file():
            for text in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, RecursionError):
                    lines.append(json.loads(text))
        return [line for line in lines if isinstance(line, dict) and "phase" in line]

    def add(self, phase: str, numbers: Mapping[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"phase": phase, **numbers}) + "\n")
        if self._trackers:
            counted = "step" not in numbers
            self._pass_on(phase, sum(line["phase"] == phase for line in self.lines()) if counted else 0, numbers)

    def _pass_on(self, phase: str, place: int, numbers: Mapping[str, Any]) -> None:
        """Send a line to the trackers with its step or, where it has none, as the `place`-th of its phase."""
        for tracker in self._trackers:
            tracker.scalars(phase, numbers.get("step", place), numbers)

    def rewind(self, step: float = math.inf, rollbacks: int = 0) -> None:
        """Drop the lines of stage 2 that come after a step, and a line cut off by a crash.

        Args:
            step: The last step that is kept.
            rollbacks: The rollbacks before that step; lines from before the last of them stay.
        """
        kept = [
            line
            for line in self.lines()
            if line["phase"] not in STAGE_TWO
            or line.get("rollbacks", 0) < rollbacks
            or line["step"] + (line["phase"] == "reset") <= step
        ]
        unfinished = self.path.with_suffix(".tmp")
        unfinished.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        unfinished.replace(self.path)

    def seconds(self, phase: str) -> float:
        """Return the seconds of a phase; those of work that a crash lost do not count."""
        return float(sum(line["seconds"] for line in self.lines() if line["phase"] == phase))
