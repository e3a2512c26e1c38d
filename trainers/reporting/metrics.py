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

    A line names its phase: "warm_start", "values", "branch" (of a run that goes on with other settings), "learning",
    "alarm" or "reset"; those of the last three have a step.
    After a rollback the steps begin anew from an earlier one, and `rollbacks` counts one more; what was written before
    stays. A reset of the reference comes after its step.

    Args:
        path: The file; it need not exist.
        trackers: Told every line: those that are there, since a crash may have come between a line and them, and those
            that are added.
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
        """Forget everything."""
        self.path.unlink(missing_ok=True)

    def lines(self) -> list[dict[str, Any]]:
        """Return all complete lines; one cut off by a crash is left out."""
        lines = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with suppress(json.JSONDecodeError):
                    lines.append(json.loads(line))
        return lines

    def add(self, phase: str, numbers: Mapping[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"phase": phase, **numbers}) + "\n")
        if self._trackers:
            counted = "step" not in numbers
            self._pass_on(phase, sum(line["phase"] == phase for line in self.lines()) if counted else 0, numbers)

    def _pass_on(self, phase: str, place: int, numbers: Mapping[str, Any]) -> None:
        """Tell the trackers a line, by its step or, without one, as the `place`-th of its phase."""
        for tracker in self._trackers:
            tracker.scalars(phase, numbers.get("step", place), numbers)

    def rewind(self, step: float = math.inf, rollbacks: int = 0) -> None:
        """Drop the lines of stage 2 that come after a step, and a line cut off by a crash.

        Args:
            step: The last step that is kept.
            rollbacks: The rollbacks before that step; what was written before the last of them stays.
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

    def total(self, phase: str, name: str) -> int:
        """Return the sum of a count over the lines of a phase that have it."""
        return sum(int(line.get(name, 0)) for line in self.lines() if line["phase"] == phase)

    def seconds(self, phase: str) -> float:
        """Return the time a phase took, without attempts that were cut off before they left anything to build on."""
        return float(sum(line["seconds"] for line in self.lines() if line["phase"] == phase))
