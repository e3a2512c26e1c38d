"""Large libraries without the garbage collector, which would look through what they make again and again."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause the garbage collector, if it runs, while modules are imported in the block.

    What an import makes stays, so there is nothing to collect; of the import of torch and transformers a fifth of the
    time is otherwise spent on looking.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def end_without_collection() -> None:
    """Let this process end without looking for garbage once more, as Python does several times at its end.

    The memory goes back to the system anyway; with torch and transformers loaded the looking takes most of a second.
    """
    atexit.register(gc.freeze)
