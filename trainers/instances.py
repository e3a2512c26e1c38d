"""Whose an index is: of the pool of stage 1, of fresh instances, or of a level of a curriculum.

    0 ...                        the pool of stage 1, played again and again
    2**30 ...                    fresh instances of the environment itself, each played once
    2**31 + level * 2**30 ...    fresh instances of an easier level, the easiest being level 0

So an index alone tells what is played, and no two parts of a run share an instance.
"""

from __future__ import annotations

from collections.abc import Sequence

FRESH_INSTANCES = 2**30
"""Where the indices of instances begin that no other stage uses."""
TARGET = -1
"""The level of the configured environment: the last."""
LEVEL_INSTANCES = 2**31
"""Where the indices of the instances of the easier levels begin, above all of the target's."""
LEVEL_BLOCK = 2**30
"""How many indices each easier level has."""


def level_of(index: int) -> int:
    """Return the level of an instance: 0 for the easiest, and `TARGET`."""
    return max((index - LEVEL_INSTANCES) // LEVEL_BLOCK, TARGET)


def level_instances(counts: Sequence[int], offset: int) -> list[int]:
    """Return the indices of new instances of the easier levels, level by level.

    Args:
        counts: How many of each.
        offset: How many of a level may have been played so far.
    """
    firsts = [LEVEL_INSTANCES + level * LEVEL_BLOCK + offset for level in range(len(counts))]
    return [first + number for first, count in zip(firsts, counts, strict=True) for number in range(count)]
