"""A*PO: regress the scaled log-ratio to the reference on the advantage over the optimal value.

The optimum of KL-regularised reward maximisation obeys beta * log(pi*/pi_ref)(trajectory) = R - V*(start), so the
residual of that identity is squared. Losses are divided by 2 * beta, which makes gradients residual * grad log pi, of
order one, whatever beta is. Sums over tokens, never means; advantages are never whitened.

Reference: A*-PO, arXiv:2505.20686, stage 2; the per-turn form is the soft Bellman residual with eligibility lambda.
Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from turngym.trainers.objectives.groups import sums_to_go
from turngym.trainers.objectives.registry import Samples, Settings, objective


@objective(
    "astarpo",
    source="A*-PO, arXiv:2505.20686, the stage-2 loss (beta * log(pi / pi_ref) - (R - V*))^2, over whole trajectories",
    reference=True,
    values=True,
)
def astarpo(samples: Samples, settings: Settings) -> Tensor:
    """Return (beta * l - (R - V))^2 / (2 * beta) for each episode, `[B]`.

    l is the log-ratio of policy to reference summed over every sampled token, R the undiscounted return, V the value of
    the start.
    """
    log_ratio_B = samples.per_episode(samples.logp_N - samples.ref_logp_N)
    advantage_B = samples.reward_BK.sum(1) - samples.value_BK[:, 0]
    return (settings.beta * log_ratio_B - advantage_B) ** 2 / (2 * settings.beta)


@objective(
    "astarpo_turn",
    source="A*PO(lambda): the loss of arXiv:2505.20686 turn by turn, by its soft Bellman residuals beta * l_t - r_t "
    "- V(s_{t+1}) + V(s_t), which are summed with lambda^(k - t) as in GAE, arXiv:1506.02438",
    reference=True,
    values=True,
)
def astarpo_turn(samples: Samples, settings: Settings) -> Tensor:
    """Return, for each episode, a loss whose gradient is sum_t G_t * grad log pi(a_t | s_t), `[B]`.

    G_t = sum_{k >= t} lambda^(k - t) * delta_k with delta_t = beta * l_t - r_t - V(s_{t+1}) + V(s_t) and V = 0 at the
    end: only what comes after a turn is charged to it. With lambda = 1 the values after s_t cancel and V(s_t) is a mere
    baseline: on policy the gradient is unbiased for any V. Below 1 it has less variance and needs V to be V*. The loss
    is the least-squares form (beta * l_t - target_t)^2 / (2 * beta) with target_t = beta * l_t - G_t held fixed, so its
    size is sum_t G_t^2 / (2 * beta).
    """
    played_BK = samples.played()
    soft_cost_BK = settings.beta * samples.per_turn(samples.logp_N - samples.ref_logp_N)
    value_BK = samples.value_BK.where(played_BK, 0.0)
    following_BK = torch.nn.functional.pad(value_BK[:, 1:], (0, 1))
    residual_BK = (soft_cost_BK - samples.reward_BK - following_BK + value_BK).where(played_BK, 0.0)
    target_BK = (soft_cost_BK - sums_to_go(residual_BK, settings.turn_lambda)).detach()
    return ((soft_cost_BK - target_BK) ** 2 * played_BK).sum(1) / (2 * settings.beta)
