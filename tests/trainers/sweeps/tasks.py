"""What the processes of the tests do; each imports this module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from turngym.trainers.interrupt import stoppable


def add(one: int, other: int) -> int:
    return one + other


def note(log: Path, word: str) -> str:
    with log.open("a") as file:
        file.write(f"{word} ")
    return word


def fail() -> None:
    raise SystemExit(3)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def patient(mark: Path) -> None:
    """Work for a minute, and save when asked to stop."""
    try:
        with stoppable():
            mark.write_text("begun")
            time.sleep(60)
    except KeyboardInterrupt:
        mark.write_text("saved")
