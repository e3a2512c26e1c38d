"""What a rollout sees of the place where its environments run, and which place that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from typing import Any, Protocol

from turngym._exits import exits_raise
from turngym.agents.hosting.stage import Game, Interrupted, Method, Opening, Result, Stage
from turngym.envs.core import TextEnv

STEP_TIMEOUT = 60.0
"""How long a call of an environment may take unless something else is said, seconds."""


class Host(Protocol):
    """Runs the calls of many slots. Calls of one slot run in the order given, those of a round side by side or not."""

    @property
    def expecting(self) -> bool:
        """Whether calls were submitted since results were last gathered."""

    def submit(self, slot: int, method: Method, *arguments: Any) -> None:
        """Ask for a call; the slot's last one has been answered."""

    def gather(self) -> list[tuple[int, Result]]:
        """Run what was submitted and return its results, by slot.

        Calls that are late are left out; where nothing else is left to wait for, it waits for one of them. Results of
        calls that were late before, and episodes that were interrupted, are among those returned.

        Raises:
            BaseException: One of `CALLERS_FAULTS`.
        """

    def env(self, slot: int, opening: Opening) -> TextEnv:
        """Return what an agent may know of the environment of a slot, whose episode has just begun."""

    def close(self) -> None:
        """Close all environments; one that hangs is left behind."""


class Patience:
    """How long calls are waited for.

    A call that takes longer than the limit is given up. Long before, when it has taken a share of the limit and much
    longer than any other call of its method, it is late: the others go on without it.

    Args:
        limit: Seconds above 0; infinity waits for ever.
        share: The share of the limit after which a call is late, in (0, 1].
    """

    FACTOR = 4.0
    """How much longer than the longest call so far a late one has taken."""
    LEAST = 0.05
    """Seconds that a busy machine may keep any call waiting."""

    def __init__(self, limit: float, share: float) -> None:
        self.limit, self._share = limit, share
        self._longest: dict[Method, float] = {}

    def late(self, method: Method) -> float:
        """Return the seconds after which a call of a method is late."""
        usual = self.FACTOR * self._longest.get(method, 0.0)
        return min(self.limit, max(self._share * self.limit, usual, self.LEAST))

    def learn(self, method: Method, seconds: float) -> None:
        """Take note of how long a call took."""
        self._longest[method] = max(self._longest.get(method, 0.0), seconds)


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """Where environments run."""

    step_timeout: float = STEP_TIMEOUT
    """Seconds that a call may take, above 0; infinity waits for ever, without a thread."""
    isolate: int = 0
    """Number of worker processes; 0 for none."""
    late_share: float = 0.1
    """The share of `step_timeout` after which the other slots go on without one that has not answered."""


def open_host(game: Game, settings: HostSettings) -> Host:
    """Return the host for a rollout.

    Raises:
        InputError: The game cannot be taken to another process.
    """
    patience = Patience(settings.step_timeout, settings.late_share)
    if settings.isolate:
        from turngym.agents.hosting.processes import ProcessHost

        return ProcessHost(game, patience, settings.isolate)
    if settings.step_timeout == math.inf:
        return DirectHost(game)
    from turngym.agents.hosting.threads import ThreadHost

    return ThreadHost(game, patience)


def run_calls(host: Host, method: Method, arguments: Sequence[Any], *, slots: int) -> list[Result]:
    """Call a method with each of some arguments, in some slots, and return the results in that order.

    Args:
        host: Where environments run; it stays open.
        method: A method that begins anew: "begin" or "optimum".
        arguments: One argument for each call.
        slots: Environments to use at most.
    """
    results: dict[int, Result] = {}
    running: dict[int, int] = {}
    waiting = iter(range(len(arguments)))

    def submit(slot: int, number: int | None) -> None:
        if number is not None:
            running[slot] = number
            host.submit(slot, method, arguments[number])

    for slot in range(slots):
        submit(slot, next(waiting, None))
    with exits_raise(), chdir("."):
        while running:
            for slot, result in host.gather():
                number = running.pop(slot, None)
                if isinstance(result, Interrupted):
                    submit(slot, number)
                elif number is not None:
                    results[number] = result
                    submit(slot, next(waiting, None))
    return [results[number] for number in sorted(results)]


class DirectHost:
    """Runs every call in the thread that asks for it, however long it takes.

    Args:
        game: What is played.
    """

    def __init__(self, game: Game) -> None:
        self._game = game
        self._stages: dict[int, Stage] = {}
        self._calls: list[tuple[int, Method, tuple[Any, ...]]] = []

    @property
    def expecting(self) -> bool:
        """Whether calls were submitted since results were last gathered."""
        return bool(self._calls)

    def submit(self, slot: int, method: Method, *arguments: Any) -> None:
        """Ask for a call."""
        self._calls.append((slot, method, arguments))

    def gather(self) -> list[tuple[int, Result]]:
        """Run what was submitted and return its results."""
        calls, self._calls = self._calls, []
        return [(slot, self._stage(slot).call(method, *arguments)) for slot, method, arguments in calls]

    def env(self, slot: int, opening: Opening) -> TextEnv:
        """Return the environment of a slot."""
        return self._stage(slot).text_env()

    def close(self) -> None:
        """Close all environments."""
        for stage in self._stages.values():
            stage.close()

    def _stage(self, slot: int) -> Stage:
        if slot not in self._stages:
            self._stages[slot] = Stage(self._game, slot)
        return self._stages[slot]
