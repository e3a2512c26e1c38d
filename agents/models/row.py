"""What a cached decoder reads: a conversation, of which it has read a part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Row:
    """One conversation in progress."""

    stream: list[int]
    """All ids so far."""
    cached: int = 0
    """How many of them the cache holds."""
