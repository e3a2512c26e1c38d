"""A*PO: regress the scaled log-ratio to the reference on the advantage over the optimal value.

The optimum of KL-regularised reward maximisation obeys beta * log(pi*/pi_ref)(trajectory) = R - V*(start), so the
residual of that identity is squared. Losses are divided by 2 * beta, which makes gradients residual * grad log pi, of
order one, whatever beta is. Sums over tokens, never means; advantages are never whitened.

Reference: A*-PO, arXiv:2505.20686, section 3; the per-turn form is the soft Bellman residual with eligibility lambda.
Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.objectives.registry import Samples, objective


@objective("astarpo", source="arXiv:2505.20686, stage-2 loss, over whole multi-turn trajectories")
def astarpo(samples: Samples, beta: float) -> Tensor:
    """Return (beta * l - (R - V))^2 / (2 * beta) for each episode, `[B]`.

    l is the log-ratio of policy to reference summed over every sampled token, R the undiscounted return.

    Args:
        samples: The episodes.
        beta: KL temperature, in units of reward per nat, above 0.
    """
    log_ratio_B = samples.per_episode(samples.logp_N - samples.ref_logp_N)
    advantage_B = samples.reward_BK.sum(1) - samples.value_B
    return (beta * log_ratio_B - advantage_B) ** 2 / (2 * beta)


@objective("astarpo_turn", source="A*PO(lambda = 1): reward-to-go form with the soft return as target")
def astarpo_turn(samples: Samples, beta: float) -> Tensor:
    """Return, for each episode, a loss whose gradient is sum_t G_t * grad log pi(a_t | s_t), `[B]`.

    G_t = sum_{k >= t} (beta * l_k - r_k) + V(s_t): only what comes after a turn is charged to it. V(s_t) is the start's
    value less the reward already earned, a baseline and not V* of the state: on policy the gradient is unbiased for any
    V, but it does not vanish sample by sample at the optimum. The loss is the least-squares form
    (beta * l_t - target_t)^2 / (2 * beta) with target_t = beta * l_t - G_t held fixed, so its size is
    sum_t G_t^2 / (2 * beta).

    Args:
        samples: The episodes.
        beta: KL temperature, in units of reward per nat, above 0.
    """
    log_ratio_BK = samples.per_turn(samples.logp_N - samples.ref_logp_N)
    played_BK = samples.per_turn(torch.ones_like(samples.logp_N)) > 0
    reward_BK = samples.reward_BK
    to_go_BK = (beta * log_ratio_BK - reward_BK).flip(1).cumsum(1).flip(1)
    value_BK = samples.value_B[:, None] - (reward_BK.cumsum(1) - reward_BK)
    target_BK = (beta * log_ratio_BK - (to_go_BK + value_BK)).detach()
    return ((beta * log_ratio_BK - target_BK) ** 2 * played_BK).sum(1) / (2 * beta)
