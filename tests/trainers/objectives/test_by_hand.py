"""Losses of objectives that compare episodes, and of PPO, on a batch small enough for pencil and paper.

One group of three episodes with returns 1, 0 and 0, whose mean is 1/3 and whose sample standard deviation is 0.577350.
The second episode stands a factor 2 above the reference; the first moved from its sampler by 3/2, 1 and 1/2.
"""

from __future__ import annotations

from math import log

import pytest
import torch
from tests.trainers.objectives.steps import step_params, with_advantages

from turngym.trainers.objectives import OBJECTIVES, TrainingBatch
from turngym.trainers.objectives.ppo import gae_advantages

KL_COEF = 0.5
"""The KL penalty of the token above the reference is 0.5 * (1/2 - 1 + ln 2) = 0.096574."""


def three_episodes() -> TrainingBatch:
    """Return turns of 2 and 1 tokens, of 1, and of 1 and 1; the critic says 1/4 everywhere."""
    moved_N = torch.tensor([log(1.5), 0.0, log(0.5), 0.0, 0.0, 0.0], dtype=torch.float64)
    logp_N = moved_N - 1
    return TrainingBatch(
        logp_N=logp_N,
        old_logp_N=torch.full((6,), -1.0, dtype=torch.float64),
        ref_logp_N=logp_N - torch.tensor([0.0, 0.0, 0.0, log(2.0), 0.0, 0.0], dtype=torch.float64),
        critic_N=torch.full((6,), 0.25, dtype=torch.float64),
        episode_N=torch.tensor([0, 0, 0, 1, 2, 2]),
        turn_N=torch.tensor([0, 0, 1, 0, 0, 1]),
        reward_BK=torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64),
        group_B=torch.tensor([7, 7, 7]),
        state_BK=torch.tensor([[0, 1], [0, -1], [0, 1]]),
        tokens_per_episode=2.0,
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Soft returns 1 - 0.1 * (ln 2 - ln 1.5) = 0.971232, -0.1 * ln 2 and 0, each less the mean of the others, times
        # minus the log-probability of the episode: 3.287682, 1 and 2.
        ("rloo", [1.005889 * 3.287682, -0.554931 * 1, -0.450959 * 2]),
        # Scores 1.154701 and -0.577350; the ratio 3/2 is clipped at 1.2; mean over tokens, then the penalty.
        ("grpo", [-1.154701 * (1.2 + 1 + 0.5) / 3, 0.577350 + 0.096574, 0.577350]),
        ("dr_grpo", [-(2 / 3) * (1.2 + 1 + 0.5), 1 / 3, 2 / 3]),
        # Clipped at 1.28, and divided by the two tokens of an average episode.
        ("dapo", [-1.154701 * (1.28 + 1 + 0.5) / 2, 0.577350 / 2, 0.577350]),
        ("starpo_s", [-1.154701 * (1.28 + 1 + 0.5) / 2, 0.577350 / 2, 0.577350]),
        # In the first state rewards to go of 0.95, 0 and 0 have the scores of the returns; in the second, 1 and 0 have
        # 0.707107 and -0.707107. They are added to the scores of the episodes.
        ("gigpo", [-(2.309401 * (1.2 + 1) + 1.861808 * 0.5) / 2, (1.154701 + 0.096574) / 2, (1.154701 + 1.284457) / 2]),
        # Advantages 0.75, three times, and -0.25 are 0.912871 and -0.912871 when whitened. The critic's errors are
        # 0.75 and -0.25; a quarter of their squares is 0.140625 and 0.015625.
        ("ppo", [(-0.912871 * (1.2 + 1 + 0.5) + 3 * 0.140625) / 2, (0.912871 + 0.096574 + 0.015625) / 2,
                 0.912871 + 0.015625]),
    ],
)  # fmt: skip
def test_losses_by_hand(name: str, expected: list[float]) -> None:
    step = step_params(name, beta=0.1, kl_coef=KL_COEF)
    loss_B = OBJECTIVES[name].loss(with_advantages(three_episodes(), name, step), step)
    assert loss_B.tolist() == pytest.approx(expected, abs=1e-5)


def test_bilevel_advantages_by_hand() -> None:
    """Turns from the end: 0.75, then 0.95 * 0.25 - 0.25 + 0.95 * 0.5 * 0.75 = 0.34375, which its first token halves."""
    step = step_params("ppo", gae_level="bilevel", turn_gamma=0.95, gae_lambda=0.5)
    found_N, _ = gae_advantages(three_episodes(), step)
    # The third episode: -0.25, then -0.0125 - 0.95 * 0.5 * 0.25.
    assert found_N.tolist() == pytest.approx([0.171875, 0.34375, 0.75, -0.25, -0.13125, -0.25], abs=1e-12)
