"""The ranges of instance indices: the pool of stage 1, fresh instances, the levels of a curriculum, and self-play.

    0 ...                        the pool, which stage 1 and stage 2 play repeatedly
    2**30 ...                    fresh instances of the environment itself, each played once
    2**31 + level * 2**30 ...    fresh instances of an easier level, the easiest being level 0
    2**61                        the task of the proposer
    2**62 ...                    what was proposed, numbered by content (`turngym.envs.written`)

So an index tells the level of an instance, and fresh instances are never in the pool.
"""

from __future__ import annotations

from collections.abc import Sequence

from turngym.envs.written import WRITTEN_INSTANCES

FRESH_INSTANCES = 2**30
"""The first index of fresh instances, above those of the pool."""
TARGET = -1
"""The level of the configured environment itself, which is the last of a curriculum."""
PROPOSER = -2
"""The level of the episodes in which instances are proposed: their returns are of another kind than those of play."""
PROPOSING = 2**61
"""The index of the one task of the proposer."""
LEVEL_INSTANCES = 2**31
"""The first index of the easiest level, above all indices of the target."""
LEVEL_BLOCK = 2**30
"""How many indices each easier level has."""


def level_of(index: int) -> int:
    """Return the level of an instance: 0 for the easiest, `TARGET` for the environment itself, or `PROPOSER`."""
    if index >= PROPOSING:
        return TARGET if index >= WRITTEN_INSTANCES else PROPOSER
    return max((index - LEVEL_INSTANCES) // LEVEL_BLOCK, TARGET)


def level_instances(counts: Sequence[int], offset: int) -> list[int]:
    """Return the indices of new instances of the easier levels, level by level.

    Args:
        counts: The number of instances of each level, the easiest first.
        offset: The number of indices that are used already, in each level.
    """
    firsts = [LEVEL_INSTANCES + level * LEVEL_BLOCK + offset for level in range(len(counts))]
    return [first + number for first, count in zip(firsts, counts, strict=True) for number in range(count)]
