"""Relatives of A*PO that need no value: regressions of log-ratios on rewards within a group.

All are divided by 2 * beta, as A*PO is. With one optimizer step per batch and the sampler as reference all three are
REINFORCE with a baseline from the other episodes of the group; they differ once steps reuse a batch.

Shapes: B episodes, N sampled tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.objectives.groups import group_means, group_sizes, lead_over_others
from turngym.trainers.objectives.registry import Samples, Settings, objective
from turngym.trainers.stage_one.estimators import leave_one_out_log_mean_exp


def oapl_advantages(samples: Samples, settings: Settings) -> Tensor:
    """Return R - V of each token's episode, V the log-mean-exp of the returns of the others of its group, `[N]`.

    An episode without others has advantage 0.
    """
    return_B = samples.reward_BK.sum(1)
    value_B = return_B.clone()
    for group in set(samples.group_B.tolist()):
        mates_B = samples.group_B == group
        if mates_B.sum() > 1:
            others = leave_one_out_log_mean_exp(return_B[mates_B].tolist(), settings.beta_value)
            value_B[mates_B] = torch.as_tensor(others, dtype=value_B.dtype, device=value_B.device)
    return (return_B - value_B)[samples.row_N]


@objective(
    "oapl",
    source="OAPL, arXiv:2602.19362: (beta * log(pi / pi_sampler) - (R - V))^2, A*-PO with the lagged sampler as "
    "reference; V = beta_value * log mean exp(R / beta_value) of the group, here without the sample itself",
    advantages=oapl_advantages,
    groups=True,
)
def oapl(samples: Samples, settings: Settings) -> Tensor:
    """Return (beta * log(pi / pi_sampler) - (R - V))^2 / (2 * beta) for each episode, `[B]`.

    V is the log-mean-exp of the group at temperature `beta_value`. Without a frozen reference, beta limits the move
    from batch to batch and not the distance from the start.
    """
    log_ratio_B = samples.per_episode(samples.logp_N - samples.old_logp_N)
    advantage_B = samples.per_episode(samples.advantage_N) / samples.lengths()
    return (settings.beta * log_ratio_B - advantage_B) ** 2 / (2 * settings.beta)


@objective(
    "gvpo",
    source="GVPO, arXiv:2504.19599: (beta * (l - mean l) - (R - mean R))^2 with means over the group, in which the "
    "partition function cancels",
    groups=True,
    paired=True,
    reference=True,
)
def gvpo(samples: Samples, settings: Settings) -> Tensor:
    """Return n / (n - 1) * (beta * (l - mean l) - (R - mean R))^2 / (2 * beta) for each episode, `[B]`.

    Means are over the n episodes of its group, l is the log-ratio of policy to reference. An episode without others
    costs nothing.
    """
    soft_cost_B = settings.beta * samples.per_episode(samples.logp_N - samples.ref_logp_N) - samples.reward_BK.sum(1)
    centered_B = soft_cost_B - group_means(soft_cost_B, samples.group_B)
    return lead_over_others(soft_cost_B, samples.group_B) * centered_B / (2 * settings.beta)


@objective(
    "rebel",
    source="REBEL, arXiv:2404.16767, Algorithm 1 (eta = 1 / beta), over all pairs of a group",
    groups=True,
    paired=True,
)
def rebel(samples: Samples, settings: Settings) -> Tensor:
    """Return the mean over the others j of (beta * (l - l_j) - (R - R_j))^2 / (4 * beta) for each episode, `[B]`.

    l is the log-ratio of the policy to the one that sampled the batch. Every pair of a group is counted by both of its
    episodes. An episode without others costs nothing.
    """
    soft_cost_B = settings.beta * samples.per_episode(samples.logp_N - samples.old_logp_N) - samples.reward_BK.sum(1)
    mates_BB = samples.group_B[:, None] == samples.group_B
    squares_BB = (soft_cost_B[:, None] - soft_cost_B) ** 2 * mates_BB
    others_B = (group_sizes(samples.group_B) - 1).clamp(min=1)
    return squares_BB.sum(1) / others_B / (4 * settings.beta)
