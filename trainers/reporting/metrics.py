"""The numbers of a run: a file with one JSON object a line, kept in step with the checkpoints."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from turngym._durable import replacement
from turngym.strict_json import dumps
from turngym.trainers.reporting.trackers import Tracker

STAGE_TWO = ("learning", "alarm", "reset", "live")
"""The phases whose lines have a step."""
AFTER_STEP = ("reset", "live")
"""Those whose lines come after the checkpoint of their step."""


class Metrics:
    """Appends to `metrics.jsonl` and reads it back.

    The phase of a line is "warm_start", "values" (stage 1), "branch" (a resumed run with other settings), "learning",
    "alarm", "reset" or "live" (settings that changed while it learned); lines of the last four have a step. After a
    rollback the steps continue from an earlier one and `rollbacks` is one more; earlier lines stay. A reset of the
    reference and a change of settings come after their step.

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
        return [line for line in map(_parsed, self._texts()) if line is not None]

    def _texts(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.is_file() else []

    def add(self, phase: str, numbers: Mapping[str, Any]) -> None:
        """Append one line, of strict JSON: a number that is not finite is null."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(dumps({"phase": phase, **numbers}) + "\n")
        if self._trackers:
            counted = "step" not in numbers
            self._pass_on(phase, sum(line["phase"] == phase for line in self.lines()) if counted else 0, numbers)

    def _pass_on(self, phase: str, place: int, numbers: Mapping[str, Any]) -> None:
        """Send a line to the trackers with its step or, where it has none, as the `place`-th of its phase."""
        for tracker in self._trackers:
            tracker.scalars(phase, numbers.get("step", place), numbers)

    def begin_warm_start(self, checks: int = 0) -> None:
        """Keep what was measured before a warm start goes on: the first checks of its success, and branches."""
        lines = self.lines()
        checked = [line for line in lines if line["phase"] == "warm_start"][:checks]
        self._replace([line for line in lines if line in checked or line["phase"] == "branch"])

    def rewind(self, step: float = math.inf, rollbacks: int = 0) -> int:
        """Drop the lines of stage 2 that come after a step, and those that a crash or the disk has damaged.

        Args:
            step: The last step that is kept.
            rollbacks: The rollbacks before that step; lines from before the last of them stay.

        Returns:
            How many lines were damaged; the last one of a run that was killed may be.
        """
        lines = self.lines()
        damaged = sum(bool(text.strip()) for text in self._texts()) - len(lines)
        self._replace([
            line
            for line in lines
            if line["phase"] not in STAGE_TWO
            or line.get("rollbacks", 0) < rollbacks
            or line["step"] + (line["phase"] in AFTER_STEP) <= step
        ])  # fmt: skip
        return damaged

    def _replace(self, lines: Sequence[Mapping[str, Any]]) -> None:
        with replacement(self.path) as unfinished:
            unfinished.write_text("".join(dumps(line) + "\n" for line in lines), encoding="utf-8")

    def seconds(self, phase: str) -> float:
        """Return the seconds of a phase; those of work that a crash lost do not count."""
        found = [line.get("seconds") for line in self.lines() if line["phase"] == phase]
        return float(sum(number for number in found if isinstance(number, int | float)))


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return a line, None where it is damaged: no JSON, or without what every line of its phase has."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):  # bytes that are no UTF-8 are a ValueError too
        return None
    if not isinstance(line, dict) or not isinstance(line.get("phase"), str):
        return None
    stepless = line["phase"] in STAGE_TWO and not isinstance(line.get("step"), int)
    nameless = line["phase"] == "alarm" and not isinstance(line.get("alarm"), str)
    return None if stepless or nameless else line
