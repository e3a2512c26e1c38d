"""Relatives of A*PO that need no value: regressions of log-ratios on rewards within a group.

All are divided by 2 * beta, as A*PO is. With one optimizer step per batch and the sampler as reference all three are
REINFORCE with a baseline from the other episodes of the group; they differ once steps reuse a batch.

Shapes: B episodes, N sampled tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.config import KLRegularised, OaplConfig
from turngym.trainers.objectives.groups import group_means, group_sizes, leave_one_out_advantage
from turngym.trainers.objectives.registry import StepParams, TrainingBatch, objective
from turngym.trainers.stage_one.estimators import leave_one_out_log_mean_exp


def oapl_advantages(batch: TrainingBatch, step: StepParams[OaplConfig]) -> Tensor:
    """Return R - V of each token's episode, V the log-mean-exp of the returns of the others of its group, `[N]`.

    An episode without others has advantage 0.
    """
    return_B = batch.reward_BK.sum(1)
    value_B = return_B.clone()
    for group in set(batch.group_B.tolist()):
        mates_B = batch.group_B == group
        if mates_B.sum() > 1:
            others = leave_one_out_log_mean_exp(return_B[mates_B].tolist(), step.config.beta_value * step.reward_span)
            value_B[mates_B] = torch.as_tensor(others, dtype=value_B.dtype, device=value_B.device)
    return (return_B - value_B)[batch.episode_N]


@objective(
    "oapl",
    source="OAPL, arXiv:2602.19362: (beta * log(pi / pi_sampler) - (R - V))^2, A*-PO with the lagged sampler as "
    "reference; V = beta_value * log mean exp(R / beta_value) of the group, here without the sample itself",
    advantages=oapl_advantages,
)
def oapl(batch: TrainingBatch, step: StepParams[OaplConfig]) -> Tensor:
    """Return (beta * log(pi / pi_sampler) - (R - V))^2 / (2 * beta) for each episode, `[B]`.

    V is the log-mean-exp of the group at temperature `beta_value`. Without a frozen reference, beta limits the move
    from batch to batch and not the distance from the start.
    """
    log_ratio_B = batch.per_episode(batch.logp_N - batch.old_logp_N)
    advantage_B = batch.per_episode(batch.advantage_N) / batch.lengths()
    return (step.beta * log_ratio_B - advantage_B) ** 2 / (2 * step.beta)


@objective(
    "gvpo",
    source="GVPO, arXiv:2504.19599: (beta * (l - mean l) - (R - mean R))^2 with means over the group, in which the "
    "partition function cancels",
    needs_reference=True,
)
def gvpo(batch: TrainingBatch, step: StepParams[KLRegularised]) -> Tensor:
    """Return n / (n - 1) * (beta * (l - mean l) - (R - mean R))^2 / (2 * beta) for each episode, `[B]`.

    Means are over the n episodes of its group, l is the log-ratio of policy to reference. An episode without others
    costs nothing.
    """
    soft_cost_B = step.beta * batch.per_episode(batch.logp_N - batch.ref_logp_N) - batch.reward_BK.sum(1)
    centered_B = soft_cost_B - group_means(soft_cost_B, batch.group_B)
    return leave_one_out_advantage(soft_cost_B, batch.group_B) * centered_B / (2 * step.beta)


@objective(
    "rebel",
    source="REBEL, arXiv:2404.16767, Algorithm 1 (eta = 1 / beta), over all pairs of a group",
)
def rebel(batch: TrainingBatch, step: StepParams[KLRegularised]) -> Tensor:
    """Return the mean over the others j of (beta * (l - l_j) - (R - R_j))^2 / (4 * beta) for each episode, `[B]`.

    l is the log-ratio of the policy to the one that sampled the batch. Every pair of a group is counted by both of its
    episodes. An episode without others costs nothing.
    """
    soft_cost_B = step.beta * batch.per_episode(batch.logp_N - batch.old_logp_N) - batch.reward_BK.sum(1)
    mates_BB = batch.group_B[:, None] == batch.group_B
    squares_BB = (soft_cost_B[:, None] - soft_cost_B) ** 2 * mates_BB
    others_B = (group_sizes(batch.group_B) - 1).clamp(min=1)
    return squares_BB.sum(1) / others_B / (4 * step.beta)
