"""Signals that ask to stop: the first waits for the end of a step, the second does not, and ignored ones stay so."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from turngym.trainers.interrupt import SIGNALS, DeferredInterrupt, Stopped, exit_code, stoppable, undisturbed


def stopped_twice(number: signal.Signals, seen: list[Stopped | None]) -> None:
    """Get a signal twice while one is deferred, and keep what was requested before the second."""
    with DeferredInterrupt() as interrupt:
        seen.append(interrupt.requested)
        signal.raise_signal(number)
        seen.append(interrupt.requested)
        signal.raise_signal(number)
        pytest.fail("the second signal was not raised")


def stopped_once(seen: list[str]) -> None:
    """Get a signal while one is deferred, and do not ask for it."""
    with DeferredInterrupt():
        signal.raise_signal(signal.SIGTERM)
        seen.append("the rest of the block")


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_waits_and_the_second_does_not(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    seen: list[Stopped | None] = []
    with pytest.raises(Stopped, match=number.name):
        stopped_twice(number, seen)
    assert seen[0] is None and seen[1] is not None and seen[1].exit_code == 128 + number
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_signal_that_nobody_asked_for_is_raised_in_the_end() -> None:
    seen: list[str] = []
    with pytest.raises(Stopped, match="SIGTERM"):
        stopped_once(seen)
    assert seen == ["the rest of the block"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_what_is_stoppable_as_ctrl_c_does(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(KeyboardInterrupt) as caught, stoppable():
        signal.raise_signal(number)
    assert exit_code(caught.value) == 128 + number
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_plain_interrupt_has_the_exit_code_of_ctrl_c() -> None:
    assert exit_code(KeyboardInterrupt()) == 130


def test_what_the_process_was_told_to_ignore_stays_ignored() -> None:
    """As nohup does with SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable(), DeferredInterrupt() as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert interrupt.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_is_caught() -> None:
    handlers: list[Any] = []

    def enter() -> None:
        with DeferredInterrupt():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_end_of_a_process_is_not_disturbed(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with stoppable():
        with undisturbed():
            signal.raise_signal(number)
        with pytest.raises(Stopped):
            signal.raise_signal(number)
    assert [signal.getsignal(each) for each in SIGNALS] == before
