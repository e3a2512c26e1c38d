"""Calls that may take only so long. A call that takes longer is left behind, since Python cannot end a thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any


class DeadlineCaller:
    """Runs calls one after another in a thread of its own, and stops waiting for one that takes too long.

    After that the caller is spent: further calls wait in line behind the one that hangs, and nobody waits for them. The
    thread does not keep the program from ending.

    Args:
        timeout: How long a call may take, seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._spent = False
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        Thread(target=self._work, name="turngym-deadline", daemon=True).start()

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function` in the thread and return what it returns, or raise what it raises.

        Raises:
            TimeoutError: It took too long and goes on in the background, or the caller was spent before.
        """
        self._calls.put(partial(function, *args, **kwargs))
        if not self._spent:
            try:
                value, error = self._outcomes.get(timeout=self._timeout)
            except Empty:
                self._spent = True
            else:
                if error is not None:
                    raise error
                return value
        raise TimeoutError(f"no answer within {self._timeout:g} seconds")

    def finish(self) -> None:
        """End the thread when its calls are done; does not wait for it."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._outcomes.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised again where the call was asked for
                self._outcomes.put((None, error))
