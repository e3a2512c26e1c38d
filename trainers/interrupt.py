"""Ctrl-C that waits for a moment at which what is saved is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class DeferredInterrupt:
    """Lets a first Ctrl-C wait for the end of the optimizer step, so that what is saved is whole; a second does not.

    Outside the main thread, where signals cannot be caught, it changes nothing.
    """

    requested = False

    def __enter__(self) -> Self:
        """Catch SIGINT from now on."""
        self._previous: Any = None
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give SIGINT back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
