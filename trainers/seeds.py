"""Where everything random in a run comes from: named streams of its seed.

Two streams never share a number, and neither do two moments of one stream, as long as every number is below 2**32. A
zero at the end of a moment is not seen: a stream whose moments differ in length ends the longer ones in something else.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What is drawn."""

    WARM_START = 2
    """Demonstrations."""
    STEP = 3
    """Prompts of a step, and the chance of its episodes."""
    STAGE_ONE = 4
    """Episodes of the reference, by instance and sample."""
    MINIBATCHES = 5
    """Which groups meet in a minibatch."""
    EXPLORERS = 6
    """Episodes of explorers, by explorer, instance and sample."""


def generator(run_seed: int, stream: Stream, *moment: int) -> np.random.Generator:
    """Return the generator of a moment of a stream.

    Args:
        run_seed: The run's.
        stream: What is drawn.
        moment: Whole numbers in [0, 2**32) that tell this moment from others, such as the step.
    """
    return np.random.default_rng([run_seed, stream, *moment])


def episode_seed(run_seed: int, stream: Stream, *moment: int) -> int:
    """Return the seed of one episode, in [0, 2**31)."""
    return int(generator(run_seed, stream, *moment).integers(2**31))
