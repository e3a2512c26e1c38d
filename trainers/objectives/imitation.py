"""Imitation of good episodes: cross-entropy on the policy's own episodes, with weights that are never negative.

In stochastic environments these objectives favour risky replies: lucky episodes are imitated as much as skilful ones.

Shapes: B episodes, N sampled tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.config import AwrConfig, KLPenalised, ObjectiveConfig, WeightedSftConfig
from turngym.trainers.objectives.groups import whitened
from turngym.trainers.objectives.registry import StepParams, TrainingBatch, objective

LARGEST_EXPONENT = 3.0
"""Largest exponent of a weight of `awr`."""
LEAST_WEIGHT, LARGEST_WEIGHT = 0.1, 5.0
"""Bounds of the weights of `weighted_sft`."""
LARGEST_SCORE = 3.0
"""Bound of the whitened advantages of `weighted_sft`, in standard deviations."""


def squared_log_ratio(batch: TrainingBatch, step: StepParams[KLPenalised]) -> Tensor:
    """Return `kl_coef` * (log pi - log pi_ref)^2 / 2 of each token, `[N]`.

    On policy its gradient is that of KL(pi || pi_ref); the gradient of the log-ratio itself would be 0 on average.
    """
    if not step.config.kl_coef > 0:
        return torch.zeros_like(batch.logp_N)
    return step.config.kl_coef * 0.5 * (batch.logp_N - batch.ref_logp_N) ** 2


def awr_weights(batch: TrainingBatch, step: StepParams[AwrConfig]) -> Tensor:
    """Return exp(min((R - V) / beta_value, 3)) of each token's episode, `[N]`."""
    excess_B = batch.reward_BK.sum(1) - batch.value_BK[:, 0]
    return (excess_B / (step.config.beta_value * step.reward_span)).clamp(max=LARGEST_EXPONENT).exp()[batch.episode_N]


def clipped_weights(batch: TrainingBatch, _: StepParams[ObjectiveConfig]) -> Tensor:
    """Return clamp(clamp(z, -3, 3) + 1, 0.1, 5) of each token's episode, z its whitened R - V, `[N]`."""
    start_B = batch.value_BK[:, 0]
    z_B = whitened(batch.returns() - start_B, batch.return_scales() + start_B.abs())
    weight_B = (z_B.clamp(-LARGEST_SCORE, LARGEST_SCORE) + 1).clamp(LEAST_WEIGHT, LARGEST_WEIGHT)
    return weight_B.to(batch.reward_BK.dtype)[batch.episode_N]


@objective(
    "awr",
    source="AWR, arXiv:1910.00177, Algorithm 1, over whole episodes, with a KL term",
    advantages=awr_weights,
)
def awr(batch: TrainingBatch, step: StepParams[AwrConfig]) -> Tensor:
    """Return -exp(min((R - V) / beta_value, 3)) * log pi(episode) + KL for each episode, `[B]`."""
    return batch.per_episode(squared_log_ratio(batch, step) - batch.advantage_N * batch.logp_N)


@objective(
    "weighted_sft",
    source="AWR, arXiv:1910.00177, Algorithm 1, with the weights clamp(clamp(z, -3, 3) + 1, 0.1, 5) of whitened R - "
    "V in place of exponentials",
    advantages=clipped_weights,
)
def weighted_sft(batch: TrainingBatch, step: StepParams[WeightedSftConfig]) -> Tensor:
    """Return weight * mean cross-entropy + mean KL over the tokens of each episode, `[B]`."""
    cost_N = squared_log_ratio(batch, step) - batch.advantage_N * batch.logp_N
    return batch.per_episode(cost_N) / batch.lengths().clamp(min=1)


@objective(
    "raft",
    source="RAFT, arXiv:2304.06767: -log pi of the samples of highest reward, here of every episode that succeeded",
)
def raft(batch: TrainingBatch, _: StepParams[ObjectiveConfig]) -> Tensor:
    """Return the cross-entropy summed over an episode's tokens, so that the step's mean is over tokens, `[B]`."""
    return -batch.per_episode(batch.logp_N) / batch.tokens_per_episode
