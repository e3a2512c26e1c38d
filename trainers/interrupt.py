"""Ctrl-C that waits for the end of the step, so that the run can be saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class DeferredInterrupt:
    """Notes the first Ctrl-C in `requested` instead of raising KeyboardInterrupt; a second one raises it at once.

    Outside the main thread, where signals cannot be caught, it does nothing.
    """

    requested = False

    def __enter__(self) -> Self:
        """Catch SIGINT from now on."""
        self._previous: Any = None
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the earlier handler of SIGINT back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
