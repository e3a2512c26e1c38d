"""The settings of a run as they are now: those of its configuration, and what was taken live since it began to learn.

They depend on the configuration and the changes alone, so a run that takes the same changes at the same steps has the
same settings in every step. A rollback takes nothing back: what is held stays held, and the step that is repeated has
it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from turngym._errors import InputError
from turngym.trainers import ranks
from turngym.trainers.config import TrainConfig
from turngym.trainers.live.changes import Change, held_after, read_changes, write_changes
from turngym.trainers.live.files import WatchedFile, write_echo
from turngym.trainers.live.settings import AUTO, LIVE, read_settings, shown, tuned, value_of, with_asked, with_values
from turngym.trainers.run_files import LIVE_CHANGES_FILE, LIVE_FILE

Prepared = TypeVar("Prepared")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken(Generic[Prepared]):
    """A change that has come into effect."""

    change: Change
    """The change."""
    before: TrainConfig
    """The settings before it."""
    prepared: Prepared
    """What was prepared for the settings after it."""
    said: list[str]
    """What changed, such as "objective.beta 0.05 to 0.005 -> 0.1"."""


class Tuning:
    """Watches `live.toml` and holds what was taken.

    Args:
        config: The configuration of the run.
        folder: The folder of the run, in several processes that of this one.
        note: Told in a sentence what was taken or refused.
    """

    def __init__(self, config: TrainConfig, folder: Path, note: Callable[[str], None]) -> None:
        self._begun, self._folder, self._note = config, folder, note
        self._file = WatchedFile(folder / LIVE_FILE)
        self._record = read_changes(folder / LIVE_CHANGES_FILE)
        self._taken: list[Change] = []
        self._held: dict[str, Any] = {}
        self.config = config
        """The settings as they are now."""

    def begin(self, step: int) -> None:
        """Tell the user that the file is watched.

        Args:
            step: Steps taken so far.
        """
        self._answer(step, "watching")

    def look(self, step: int, rollbacks: int, prepare: Callable[[TrainConfig], Prepared]) -> Taken[Prepared] | None:
        """Take what is to change before the next step: by the record where it goes on from here, else by the file.

        Args:
            step: Steps taken so far.
            rollbacks: Rollbacks so far.
            prepare: Makes what the new settings need and changes nothing; raises `InputError` for settings that cannot
                come into effect.

        Returns:
            What was taken; None for nothing.

        Raises:
            InputError: What the record has cannot come into effect.
        """
        ahead = self._record[len(self._taken) :]
        if ahead:  # an edit waits until the run is where it was
            if ahead[0].moment > (rollbacks, step):
                return None
            try:
                return self._take(ahead[0], step, prepare)
            except InputError as error:
                raise InputError(f"{LIVE_CHANGES_FILE}, step {ahead[0].step}: {error}") from error
        try:
            text = ranks.once(self._file.read)
            if text is None:
                return None
            change = Change(step=step, rollbacks=rollbacks, values=self._differing(read_settings(text)))
            if not change.values:
                self._answer(step, "nothing to change")
                return None
            return self._take(change, step, prepare)
        except InputError as error:
            self._answer(step, "refused", str(error))
            self._note(f"live: refused at step {step}: {error}")
            return None

    def _differing(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that are not yet as a file asks for, with their new values.

        Raises:
            InputError: A value cannot be used.
        """
        held = with_asked(self._held, asked)
        config = tuned(self._begun, held)
        exact = {setting: value_of(config, setting) for setting in held}  # whole numbers for numbers are floats now
        names = [name for name in LIVE if exact.get(name, AUTO) != self._held.get(name, AUTO)]
        return {name: exact.get(name, AUTO) for name in names}

    def _take(self, change: Change, step: int, prepare: Callable[[TrainConfig], Prepared]) -> Taken[Prepared]:
        before, held = self.config, with_values(self._held, change.values)
        config = tuned(self._begun, held)
        prepared = prepare(config)
        if len(self._record) == len(self._taken):
            self._keep([*self._record, change])
        self._taken.append(change)
        self._held, self.config = held, config
        said = [f"{setting} {shown(before, setting)} -> {shown(config, setting)}" for setting in change.values]
        self._answer(step, "taken", *said)
        self._note(f"live: {', '.join(said)}, from step {step + 1} on")
        return Taken(change=change, before=before, prepared=prepared, said=said)

    def _answer(self, step: int, answer: str, *said: str) -> None:
        write_echo(self._folder, self.config, self._held, step=step, answer=answer, said=said)

    def _keep(self, record: list[Change]) -> None:
        if record != self._record:
            write_changes(self._folder / LIVE_CHANGES_FILE, record)
        self._record = list(record)

    # State ----------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the changes so far as plain numbers, lists and dicts."""
        return {"changes": [change.to_dict() for change in self._taken]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`; what the record has beyond it is taken again.

        Raises:
            InputError: The record is of another run, or cut off.
        """
        self._taken = [Change.from_dict(line) for line in state["changes"]]
        if self._taken[: len(self._record)] == self._record:  # it was lost, or a part of it
            self._keep(self._taken)
        elif self._record[: len(self._taken)] != self._taken:
            raise InputError(f"{self._folder / LIVE_CHANGES_FILE} is not the record that the last checkpoint was saved "
                             "with: put that back")  # fmt: skip
        self._held, self.config = held_after(self._taken), self.config_then(state)

    def config_then(self, state: Mapping[str, Any]) -> TrainConfig:
        """Return the settings as a state has them."""
        return tuned(self._begun, held_after(Change.from_dict(line) for line in state["changes"]))
