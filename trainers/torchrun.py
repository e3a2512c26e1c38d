"""What `torchrun` tells a process that it has started; without torch."""

from __future__ import annotations

import os


def launched() -> int:
    """Return how many processes `torchrun` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def launched_here() -> int:
    """Return how many of these processes are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() > 1 else 1


def is_first() -> bool:
    """Return whether this process is the first one, or the only one."""
    return launched() == 1 or int(os.environ["RANK"]) == 0
