"""The record of what was taken live: one JSON object a line, in the order in which it was taken.

It is written, whole or not at all, before a change comes into effect. A run that goes on from a checkpoint takes again
what the record has from there on, at the same steps, and a replay begins with the record of another run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from turngym._durable import replacement
from turngym._errors import InputError
from turngym.strict_json import dumps
from turngym.trainers.live.settings import with_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Settings that change together between two steps."""

    step: int
    """Steps taken before it."""
    rollbacks: int
    """Rollbacks before it."""
    values: Mapping[str, Any]
    """The new values by names such as "objective.beta"; "auto" for what is as configured from there on."""

    @property
    def moment(self) -> tuple[int, int]:
        """When it was taken; moments rise in the course of a run, also where it goes back to an earlier step."""
        return self.rollbacks, self.step

    def to_dict(self) -> dict[str, Any]:
        """Return it as a line of the record."""
        return {"step": self.step, "rollbacks": self.rollbacks, "values": dict(self.values)}

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> Self:
        """Return a change from a line of the record."""
        return cls(step=int(line["step"]), rollbacks=int(line["rollbacks"]), values=dict(line["values"]))


def held_after(changes: Iterable[Change]) -> dict[str, Any]:
    """Return the values that are held after some changes, by the names of the settings."""
    held: dict[str, Any] = {}
    for change in changes:
        held = with_values(held, change.values)
    return held


def held_in_step(changes: Iterable[Change], step: int, rollbacks: int) -> dict[str, Any]:
    """Return the values that are held in a step, from 1, of which there may be several after rollbacks.

    Args:
        changes: All of a run.
        step: The number of the step.
        rollbacks: Rollbacks before it.
    """
    return held_after(change for change in changes if change.moment <= (rollbacks, step - 1))


def read_changes(path: Path) -> list[Change]:
    """Read a record.

    Args:
        path: The file; without it nothing was taken.

    Raises:
        InputError: It cannot be read, or a line is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(filter(None, lines), start=1):
        try:
            found.append(Change.from_dict(json.loads(line)))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise InputError(f"{path}, line {number}, is no change of settings: put the file back, or delete it; then "
                             "the run goes on as its last checkpoint is") from error  # fmt: skip
    return found


def write_changes(path: Path, changes: Sequence[Change]) -> None:
    """Write a record in place of what is there."""
    with replacement(path) as unfinished:
        unfinished.write_text("".join(dumps(change.to_dict()) + "\n" for change in changes), encoding="utf-8")
