"""Where everything random comes from: named streams, spawned from the seed of a run or of an episode.

No two streams share a number, nor do two moments of one stream, however many numbers tell a moment:
`generator(0, Stream.STEP, 3)` and `generator(0, Stream.STEP, 3, 0)` are as unlike as any two.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What is drawn."""

    WARM_START = 1
    """Demonstrations of a run."""
    STAGE_ONE = 2
    """Episodes of the reference of a run, by instance and sample."""
    EXPLORERS = 3
    """Episodes of explorers of a run, by explorer, instance and sample."""
    STEP = 4
    """Prompts of a step of a run and the seeds of its episodes, by step and rollbacks."""
    MINIBATCHES = 5
    """Which groups meet in a minibatch of a run, by step."""
    TOKENS = 6
    """What a language model samples in an episode."""
    CHOICES = 7
    """What a scripted agent chooses in an episode, by the agent's own seed."""
    PROPOSALS = 8
    """Episodes of the proposer of a run, by step, rollbacks and number."""
    REPLAY = 9
    """Episodes of stage 1 that are learned from in a step of a run, by step and rollbacks."""


def generator(seed: int, stream: Stream, *moment: int) -> np.random.Generator:
    """Return the generator of a moment of a stream.

    Args:
        seed: That of the run or of the episode, at least 0. The environment of an episode draws from the seed itself,
            and so from none of the streams.
        stream: What is drawn.
        moment: Whole numbers, at least 0, that tell this moment from others, such as the step.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, *moment)))


def episode_seed(seed: int, stream: Stream, *moment: int) -> int:
    """Return the seed of one episode, in [0, 2**31); the arguments are those of `generator`."""
    return int(generator(seed, stream, *moment).integers(2**31))
