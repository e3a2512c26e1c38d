"""`os._exit` ends a process in silence, with whatever code it is given: while other people's code plays, it raises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class ForcedExit(SystemExit):
    """Code in this process called `os._exit`."""


@contextmanager
def exits_raise() -> Iterator[None]:
    """Let `os._exit` raise `ForcedExit` in this process from within; processes forked from it end by it as ever."""
    end_process, here = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != here:
            end_process(status)
        raise ForcedExit(f"os._exit({status}) was called")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = end_process
