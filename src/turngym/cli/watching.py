"""Who tells that a command was killed, which it cannot tell itself: a process beside it that does nothing else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

KILLED = (
    "turngym: the process was killed before its work was done, as the system does when memory runs out, or by other "
    "code in it; worker processes would have survived that (--isolate 1, in training --env.isolate 1)\n"
)
IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP")
"""Signals that end or stop a command and leave its watcher to see how it ends."""


@contextmanager
def watched() -> Iterator[None]:
    """Say so on standard error if this process ends within, without an exception, which nothing in it can see."""
    if not hasattr(os, "fork"):
        yield
        return
    reading, writing = os.pipe()
    sys.stdout.flush()
    watcher = os.fork()
    if watcher == 0:
        os.close(writing)
        _watch(reading)
    os.close(reading)
    try:
        yield
    finally:
        os.write(writing, b".")
        os.close(writing)
        os.waitpid(watcher, 0)


def _watch(reading: int) -> NoReturn:
    """Wait for the word that all is over, or for the end of the other process without it."""
    for name in IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    if not os.read(reading, 1):
        os.write(2, KILLED.encode())
    os._exit(0)
