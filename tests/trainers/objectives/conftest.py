"""A batch with everything an objective may ask for: groups of three, two and one, turns and tokens of any number."""

from __future__ import annotations

import pytest
import torch

from turngym.trainers.objectives import TrainingBatch

TOKENS = [[2, 1], [1], [3, 1, 2], [1, 2], [2, 2, 1], [1, 1]]
"""Sampled tokens of every turn of every episode."""


@pytest.fixture
def samples() -> TrainingBatch:
    """Six episodes of up to three turns in float64; the policy has moved from both the sampler and the reference."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    pairs = [(row, turn) for row, turns in enumerate(TOKENS) for turn, count in enumerate(turns) for _ in range(count)]
    episode_N, turn_N = torch.tensor(pairs).T
    played_BK = torch.tensor([[turn < len(turns) for turn in range(3)] for turns in TOKENS])
    old_logp_N = -1 - draw(len(pairs)).abs()
    return TrainingBatch(
        logp_N=(old_logp_N + 0.3 * draw(len(pairs))).requires_grad_(),
        old_logp_N=old_logp_N,
        ref_logp_N=old_logp_N + 0.5 * draw(len(pairs)),
        critic_N=draw(len(pairs)).requires_grad_(),
        episode_N=episode_N,
        turn_N=turn_N,
        reward_BK=draw(6, 3).where(played_BK, 0.0),
        value_BK=draw(6, 3),
        group_B=torch.tensor([4, 4, 9, 4, 9, 2]),
        # States 0 and 1 come twice or more within a group, one of them twice in the same episode.
        state_BK=torch.tensor([[0, 1, -1], [0, -1, -1], [5, 6, 5], [1, 7, -1], [5, 8, 9], [3, 4, -1]]),
        success_B=torch.tensor([True, False, True, True, False, False]),
        tokens_per_episode=len(pairs) / 6,
    )


@pytest.fixture
def alike_but_for_rounding() -> TrainingBatch:
    """One return in every group of four, 0.6 or 0: its turns in four orders, or shaped by potentials of any size.

    In single precision, as in a run.
    """
    generator = torch.Generator().manual_seed(2)
    groups = []
    for weight in (0.0, 0.7, 10.0, 300.0):
        for _ in range(8):
            orders = [torch.randperm(6, generator=generator) for _ in range(4)]
            plain_BK = torch.tensor([0.1, 0.05, 0.2, 0.15, 0.03, 0.07], dtype=torch.float64)[torch.stack(orders)]
            phi_BK = torch.rand(4, 7, generator=generator, dtype=torch.float64) * weight
            phi_BK[:, 0], phi_BK[:, -1] = 0.6 if weight else 0.0, 0.0
            groups.append(plain_BK + phi_BK.diff(dim=1))
    count = 4 * len(groups)
    return TrainingBatch(
        logp_N=torch.zeros(count), episode_N=torch.arange(count), turn_N=torch.zeros(count, dtype=torch.long),
        reward_BK=torch.cat(groups).float(), group_B=torch.arange(count) // 4,
    )  # fmt: skip
