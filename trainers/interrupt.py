"""Ctrl-C and the signals by which schedulers and terminals end a process, so that a run is saved before it stops."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a process to stop: Ctrl-C, a scheduler, a terminal that closes; Windows has no SIGHUP."""

TERMINALS = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
"""The outputs that are a terminal, which may close."""


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop; a KeyboardInterrupt, since no environment's failure must be taken for it.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.number


def exit_code(error: KeyboardInterrupt) -> int:
    """Return the exit code of a process that was interrupted."""
    return error.exit_code if isinstance(error, Stopped) else 128 + signal.SIGINT


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise every signal of `SIGNALS` as `Stopped` while the block runs, so that it ends as after Ctrl-C."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    with _caught_by(stop):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore the signals of `SIGNALS` while the block runs: for the short end of a process that stops already."""
    with _caught_by(lambda _number, _frame: None):
        yield


class DeferredInterrupt:
    """Notes the first signal in `requested` instead of raising `Stopped`; a second one raises it at once.

    Outside the main thread, where signals cannot be caught, it does nothing.
    """

    def __init__(self) -> None:
        self.requested: Stopped | None = None
        """The first signal, to be raised when the time has come."""

    def __enter__(self) -> Self:
        """Catch the signals from now on."""
        self._catching = _caught_by(self._on_signal)
        self._catching.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Put the earlier handlers back, and raise a signal that nobody has asked for."""
        self._catching.__exit__(None, None, None)
        if error is None and self.requested:
            raise self.requested

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise Stopped(number)
        self.requested = Stopped(number)


@contextmanager
def _caught_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Give the signals to a handler; those that this process was told to ignore, as by nohup, stay ignored."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            leave_closed_terminals()
        handler(number, frame)

    previous: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def leave_closed_terminals() -> None:
    """Write to nowhere in place of a terminal that has closed, so that what is said does not keep a run from saving."""
    for descriptor in TERMINALS:
        if not os.isatty(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
