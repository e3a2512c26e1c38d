"""A batch with everything an objective may ask for: groups of three, two and one, turns and tokens of any number."""

from __future__ import annotations

import pytest
import torch

from turngym.trainers.objectives import Samples

TOKENS = [[2, 1], [1], [3, 1, 2], [1, 2], [2, 2, 1], [1, 1]]
"""Sampled tokens of every turn of every episode."""


@pytest.fixture
def samples() -> Samples:
    """Six episodes of up to three turns in float64; the policy has moved from both the sampler and the reference."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    pairs = [(row, turn) for row, turns in enumerate(TOKENS) for turn, count in enumerate(turns) for _ in range(count)]
    row_N, turn_N = torch.tensor(pairs).T
    played_BK = torch.tensor([[turn < len(turns) for turn in range(3)] for turns in TOKENS])
    old_logp_N = -1 - draw(len(pairs)).abs()
    return Samples(
        logp_N=(old_logp_N + 0.3 * draw(len(pairs))).requires_grad_(),
        old_logp_N=old_logp_N,
        ref_logp_N=old_logp_N + 0.5 * draw(len(pairs)),
        critic_N=draw(len(pairs)).requires_grad_(),
        row_N=row_N,
        turn_N=turn_N,
        reward_BK=draw(6, 3).where(played_BK, 0.0),
        value_BK=draw(6, 3),
        group_B=torch.tensor([4, 4, 9, 4, 9, 2]),
        # States 0 and 1 come twice or more within a group, one of them twice in the same episode.
        state_BK=torch.tensor([[0, 1, -1], [0, -1, -1], [5, 6, 5], [1, 7, -1], [5, 8, 9], [3, 4, -1]]),
        success_B=torch.tensor([True, False, True, True, False, False]),
        tokens_per_episode=len(pairs) / 6,
    )
