"""Progress: what a long computation reports while it runs."""

from __future__ import annotations

from typing import Protocol

from turngym.agents.episode import Episode


class Progress(Protocol):
    """Gets the reports of a computation of several phases."""

    def phase(self, name: str, total: int | None) -> None:
        """Begin a phase of `total` units of work, None where that is not known; this ends the phase before."""

    def advance(self, n: int = 1, **numbers: float) -> None:
        """Report `n` more units done and the numbers that describe the state now, such as `success=0.4`.

        A negative `n` takes units back that have to be done again.
        """

    def note(self, text: str) -> None:
        """Report one line worth reading after the run."""


class SuccessSoFar:
    """Counts the episodes of a rollout and reports the share that was solved; an `on_episode` of `collect_episodes`.

    Args:
        progress: Told after every episode.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._played = self._solved = 0

    def __call__(self, episode: Episode) -> None:
        """Count one finished episode."""
        self._played += 1
        self._solved += episode.success
        self._progress.advance(success=self._solved / self._played)


class SilentProgress:
    """Ignores all reports."""

    def phase(self, name: str, total: int | None) -> None:
        """Ignore the phase."""

    def advance(self, n: int = 1, **numbers: float) -> None:
        """Ignore the work."""

    def note(self, text: str) -> None:
        """Ignore the line."""
