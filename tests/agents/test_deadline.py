"""Calls with a deadline: results and errors pass through, a call that hangs is left behind."""

from __future__ import annotations

import threading
import time

import pytest

from turngym.agents.deadline import DeadlineCaller


def test_results_and_errors_pass_through() -> None:
    call = DeadlineCaller(5)
    assert call(divmod, 7, 2) == (3, 1)
    assert call(sorted, "cab", reverse=True) == ["c", "b", "a"]
    with pytest.raises(ZeroDivisionError):
        call(divmod, 7, 0)
    with pytest.raises(SystemExit):
        call(raise_exit)
    assert call(int, "3") == 3, "an error spends nothing"
    call.finish()


def raise_exit() -> None:
    raise SystemExit(1)


def test_all_calls_run_in_one_thread_that_ends_when_told() -> None:
    call = DeadlineCaller(5)
    first, second = call(threading.current_thread), call(threading.current_thread)
    assert first is second and first is not threading.current_thread() and first.daemon
    call.finish()
    first.join(timeout=5)
    assert not first.is_alive()


def test_a_call_that_hangs_is_left_behind() -> None:
    call = DeadlineCaller(0.02)
    wake, done = threading.Event(), threading.Event()
    before = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.02 seconds"):
        call(wake.wait)
    assert time.monotonic() - before < 5
    with pytest.raises(TimeoutError):
        call(done.set)
    call.finish()
    assert not done.is_set(), "a spent caller waits for nothing more"
    wake.set()
    assert done.wait(5), "what stood in line is done once the call returns"
    with pytest.raises(TimeoutError):
        call(int)
