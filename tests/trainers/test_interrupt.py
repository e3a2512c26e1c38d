"""Ctrl-C: the first waits for the end of a step, the second does not."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from turngym.trainers.interrupt import DeferredInterrupt


def test_the_first_interrupt_waits_and_the_second_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    with DeferredInterrupt() as interrupt:
        requested = [interrupt.requested]
        signal.raise_signal(signal.SIGINT)
        requested.append(interrupt.requested)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert requested == [False, True]
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_is_caught() -> None:
    handlers: list[Any] = []

    def enter() -> None:
        with DeferredInterrupt():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
