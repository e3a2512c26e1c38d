"""Imitation of what went well: cross-entropy on the policy's own episodes, with weights that are never negative.

In stochastic environments these favour gambles: an episode is imitated for its luck as much as for its skill.

Shapes: B episodes, N sampled tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.objectives.groups import whitened
from turngym.trainers.objectives.registry import Samples, Settings, objective

LEAST_WEIGHT, LARGEST_WEIGHT = 0.1, 5.0
"""Between these lie the weights of `weighted_sft`."""
LARGEST_SCORE = 3.0
"""Standard deviations at which `weighted_sft` cuts an advantage off."""


def squared_log_ratio(samples: Samples, settings: Settings) -> Tensor:
    """Return `kl_weight` * (log pi - log pi_ref)^2 / 2 of each token, `[N]`.

    On policy its gradient is that of KL(pi || pi_ref), to which the log-ratio itself would contribute none.
    """
    if not settings.kl_weight > 0:
        return torch.zeros_like(samples.logp_N)
    return settings.kl_weight * 0.5 * (samples.logp_N - samples.ref_logp_N) ** 2


def awr_weights(samples: Samples, settings: Settings) -> Tensor:
    """Return exp(min((R - V) / beta_value, weight_limit)) of each token's episode, `[N]`."""
    excess_B = samples.reward_BK.sum(1) - samples.value_BK[:, 0]
    return (excess_B / settings.beta_value).clamp(max=settings.weight_limit).exp()[samples.row_N]


def clipped_weights(samples: Samples, _: Settings) -> Tensor:
    """Return clamp(clamp(z, -3, 3) + 1, 0.1, 5) of each token's episode, z its whitened R - V, `[N]`."""
    start_B = samples.value_BK[:, 0]
    z_B = whitened(samples.returns() - start_B, samples.return_scales() + start_B.abs())
    weight_B = (z_B.clamp(-LARGEST_SCORE, LARGEST_SCORE) + 1).clamp(LEAST_WEIGHT, LARGEST_WEIGHT)
    return weight_B.to(samples.reward_BK.dtype)[samples.row_N]


@objective(
    "awr",
    source="AWR, arXiv:1910.00177, Algorithm 1, over whole episodes, with a KL term",
    advantages=awr_weights,
    values=True,
    kl_term=True,
)
def awr(samples: Samples, settings: Settings) -> Tensor:
    """Return -exp(min((R - V) / beta_value, weight_limit)) * log pi(episode) + KL for each episode, `[B]`."""
    return samples.per_episode(squared_log_ratio(samples, settings) - samples.advantage_N * samples.logp_N)


@objective(
    "weighted_sft",
    source="AWR, arXiv:1910.00177, Algorithm 1, with the weights clamp(clamp(z, -3, 3) + 1, 0.1, 5) of whitened R - "
    "V in place of exponentials",
    advantages=clipped_weights,
    values=True,
    kl_term=True,
)
def weighted_sft(samples: Samples, settings: Settings) -> Tensor:
    """Return weight * mean cross-entropy + mean KL over the tokens of each episode, `[B]`."""
    cost_N = squared_log_ratio(samples, settings) - samples.advantage_N * samples.logp_N
    return samples.per_episode(cost_N) / samples.lengths().clamp(min=1)


@objective(
    "raft",
    source="RAFT, arXiv:2304.06767: -log pi of the samples of highest reward, here of every episode that succeeded",
    keep="success",
)
def raft(samples: Samples, _: Settings) -> Tensor:
    """Return the cross-entropy summed over an episode's tokens, so that the step's mean is over tokens, `[B]`."""
    return -samples.per_episode(samples.logp_N) / samples.tokens_per_episode
