"""Clipped policy gradients with baselines from groups: GRPO and its variants.

All share one surrogate per token and differ in the advantage, in what divides the sum over tokens, in the upper clip
and in the filter.

Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.config import (
    Clipped,
    DrGrpoConfig,
    GigpoConfig,
    GrpoConfig,
    KLPenalised,
    ObjectiveConfig,
    StarpoSConfig,
)
from turngym.trainers.objectives.groups import group_deviations, group_scores, sums_to_go
from turngym.trainers.objectives.registry import StepParams, TrainingBatch, objective


def clipped_surrogate(batch: TrainingBatch, low: float, high: float) -> Tensor:
    """Return -min(ratio * A, clip(ratio, 1 - low, 1 + high) * A) of each token, `[N]` (PPO, arXiv:1707.06347, eq. 7).

    The ratio is that of the policy to the one that sampled the token.
    """
    ratio_N = (batch.logp_N - batch.old_logp_N).exp()
    clipped_N = ratio_N.clamp(1 - low, 1 + high)
    return -torch.minimum(ratio_N * batch.advantage_N, clipped_N * batch.advantage_N)


def kl_penalty(batch: TrainingBatch, step: StepParams[KLPenalised]) -> Tensor:
    """Return `kl_coef` * (exp(-d) - 1 + d) of each token with d = log pi - log pi_ref, `[N]`.

    On policy an unbiased estimate of KL(pi || pi_ref), never negative (GRPO, arXiv:2402.03300, eq. 4). Where `kl_coef`
    is 0 the reference is not read.
    """
    if not step.config.kl_coef > 0:
        return torch.zeros_like(batch.logp_N)
    gap_N = batch.logp_N - batch.ref_logp_N
    return step.config.kl_coef * (torch.expm1(-gap_N) + gap_N)


def grpo_advantages(batch: TrainingBatch, _: StepParams[ObjectiveConfig]) -> Tensor:
    """Return the return of each token's episode in standard deviations from the mean of its group, `[N]`."""
    score_B = group_scores(batch.returns(), batch.group_B, batch.return_scales())
    return score_B.to(batch.reward_BK.dtype)[batch.episode_N]


def dr_grpo_advantages(batch: TrainingBatch, _: StepParams[ObjectiveConfig]) -> Tensor:
    """Return the return of each token's episode less the mean of its group, `[N]`."""
    lead_B = group_deviations(batch.returns(), batch.group_B, batch.return_scales())
    return lead_B.to(batch.reward_BK.dtype)[batch.episode_N]


def gigpo_advantages(batch: TrainingBatch, step: StepParams[GigpoConfig]) -> Tensor:
    """Return the episode's advantage plus `state_weight` times that of the turn, of each token, `[N]`.

    The turn's compares its discounted reward-to-go with that of all turns of the group that began in the same state,
    and is 0 where there is no other.
    """
    played_BK = batch.played()
    reward_BK = batch.reward_BK.double()
    to_go_BK = sums_to_go(reward_BK, step.config.gamma)
    scale_BK = sums_to_go(reward_BK.abs(), step.config.gamma)
    of_state_BK = torch.zeros_like(batch.reward_BK)
    score_M = group_scores(to_go_BK[played_BK], batch.state_BK[played_BK], scale_BK[played_BK])
    of_state_BK[played_BK] = score_M.to(of_state_BK.dtype)
    return grpo_advantages(batch, step) + step.config.state_weight * batch.gather_turns(of_state_BK)


@objective(
    "grpo",
    source="GRPO, arXiv:2402.03300, eq. 3: mean over the tokens of each episode",
    advantages=grpo_advantages,
    policy_gradient=True,
)
def grpo(batch: TrainingBatch, step: StepParams[GrpoConfig]) -> Tensor:
    """Return the mean over an episode's tokens of the clipped surrogate and the KL penalty, `[B]`."""
    cost_N = clipped_surrogate(batch, step.config.clip_low, step.config.clip_high) + kl_penalty(batch, step)
    return batch.per_episode(cost_N) / batch.lengths().clamp(min=1)


@objective(
    "dr_grpo",
    source="Dr. GRPO, arXiv:2503.20783: the sum over tokens of min(ratio * A, clip(ratio) * A) with A = R - mean R, "
    "so that neither lengths nor standard deviations divide, and no KL",
    advantages=dr_grpo_advantages,
    policy_gradient=True,
)
def dr_grpo(batch: TrainingBatch, step: StepParams[DrGrpoConfig]) -> Tensor:
    """Return the sum over an episode's tokens of the clipped surrogate, `[B]`."""
    return batch.per_episode(clipped_surrogate(batch, step.config.clip_low, step.config.clip_high))


@objective(
    "dapo",
    source="DAPO, arXiv:2503.14476: min(ratio * A, clip(ratio, 1 - low, 1 + higher) * A) with A = (R - mean R) / std "
    "R, mean over tokens, groups that differ in reward, no KL; its overlong reward shaping is left out, and "
    "nothing is sampled for the groups that are dropped",
    advantages=grpo_advantages,
    policy_gradient=True,
)
def dapo(batch: TrainingBatch, step: StepParams[Clipped]) -> Tensor:
    """Return the clipped surrogate summed over an episode's tokens, so that the step's mean is over tokens, `[B]`."""
    cost_N = clipped_surrogate(batch, step.config.clip_low, step.config.clip_high)
    return batch.per_episode(cost_N) / batch.tokens_per_episode


@objective(
    "starpo_s",
    source="StarPO-S, arXiv:2504.20073, on GRPO: A = (R - mean R) / std R in the groups of largest std R, "
    "clip-higher, no KL",
    advantages=grpo_advantages,
    policy_gradient=True,
)
def starpo_s(batch: TrainingBatch, step: StepParams[StarpoSConfig]) -> Tensor:
    """Return what `dapo` returns; the two differ in the filter, `[B]`."""
    return dapo(batch, step)


@objective(
    "gigpo",
    source="GiGPO, arXiv:2505.10978: A = A_episode + weight * A_turn, each (x - mean x) / std x, of the returns of a "
    "group and of the discounted rewards-to-go of its turns from the same state",
    advantages=gigpo_advantages,
    policy_gradient=True,
)
def gigpo(batch: TrainingBatch, step: StepParams[GigpoConfig]) -> Tensor:
    """Return the clipped surrogate and the KL penalty summed over an episode's tokens; the step's mean is over tokens.

    Shape `[B]`.
    """
    cost_N = clipped_surrogate(batch, step.config.clip_low, step.config.clip_high) + kl_penalty(batch, step)
    return batch.per_episode(cost_N) / batch.tokens_per_episode
