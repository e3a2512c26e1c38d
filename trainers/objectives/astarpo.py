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

from turngym.trainers.config import AstarpoConfig, AstarpoTurnConfig, KLRegularised
from turngym.trainers.objectives.groups import sums_to_go
from turngym.trainers.objectives.registry import StepParams, TrainingBatch, objective

LEAST_WEIGHT = 1e-6
"""Least sum of the weights that the weighted mean is divided by."""


@objective(
    "astarpo",
    source="A*-PO, arXiv:2505.20686, the stage-2 loss (beta * log(pi / pi_ref) - (R - V*))^2, over whole trajectories",
    needs_reference=True,
)
def astarpo(batch: TrainingBatch, step: StepParams[AstarpoConfig]) -> Tensor:
    """Return (beta * l - (R - V))^2 / (2 * beta) for each episode, `[B]`.

    l is the log-ratio of policy to reference summed over every sampled token, R the undiscounted return, V the value of
    the start.
    """
    log_ratio_B = batch.per_episode(batch.logp_N - batch.ref_logp_N)
    advantage_B = batch.reward_BK.sum(1) - batch.value_BK[:, 0]
    return (step.beta * log_ratio_B - advantage_B) ** 2 / (2 * step.beta)


def soft_costs(batch: TrainingBatch, step: StepParams[KLRegularised]) -> Tensor:
    """Return beta * l_t of each turn, `[B, K]`."""
    return step.beta * batch.per_turn(batch.logp_N - batch.ref_logp_N)


def residuals_to_go(batch: TrainingBatch, soft_cost_BK: Tensor, step: StepParams[AstarpoTurnConfig]) -> Tensor:
    """Return G_t of each turn, 0 where none was played, `[B, K]`; see `astarpo_turn`."""
    played_BK = batch.played()
    value_BK = batch.value_BK.where(played_BK, 0.0)
    following_BK = torch.nn.functional.pad(value_BK[:, 1:], (0, 1))
    residual_BK = soft_cost_BK - batch.reward_BK - following_BK + value_BK
    return sums_to_go(residual_BK.where(played_BK, 0.0), step.config.turn_lambda) * played_BK


def optimal_baselines(batch: TrainingBatch, step: StepParams[AstarpoTurnConfig]) -> Tensor:
    """Return, for each episode, the mean of G_t over the turns of all others, weighted by w_t, `[B]`.

    w_t = sum over the tokens of a turn of (1 - pi(token))^2 approximates the squared length of
    grad log pi(a_t | s_t). Of all constants that can be subtracted from the G_t, their mean weighted by w_t gives the
    gradient the least variance (Greensmith, Bartlett and Baxter, JMLR 2004). The mean leaves out the episode it is
    subtracted from, so the gradient is unbiased on policy. Where all G_t are 0 it is 0, so pi* stays a fixed point
    whatever the sampler.
    """
    weight_BK = batch.per_turn((1.0 - batch.logp_N.double().exp()).square())
    to_go_BK = residuals_to_go(batch, soft_costs(batch, step), step)
    weighted_B, weight_B = (weight_BK * to_go_BK).sum(1), weight_BK.sum(1)
    others_B = (weighted_B.sum() - weighted_B) / (weight_B.sum() - weight_B).clamp(min=LEAST_WEIGHT)
    return others_B.to(batch.reward_BK.dtype)


@objective(
    "astarpo_turn",
    source="A*PO(lambda): the loss of arXiv:2505.20686 turn by turn, by its soft Bellman residuals beta * l_t - r_t "
    "- V(s_{t+1}) + V(s_t), which are summed with lambda^(k - t) as in GAE, arXiv:1506.02438",
    optimal_baselines=optimal_baselines,
    needs_reference=True,
)
def astarpo_turn(batch: TrainingBatch, step: StepParams[AstarpoTurnConfig]) -> Tensor:
    """Return, for each episode, a loss whose gradient is sum_t G_t * grad log pi(a_t | s_t), `[B]`.

    G_t = sum_{k >= t} lambda^(k - t) * delta_k with delta_t = beta * l_t - r_t - V(s_{t+1}) + V(s_t) and V = 0 at the
    end: a turn is charged only for what comes after it. With lambda = 1 the values after s_t cancel and V(s_t) is a
    baseline: on policy the gradient is unbiased for any V. Below 1 it has less variance and needs V to be V*. The loss
    is the least-squares form (beta * l_t - target_t)^2 / (2 * beta) with target_t = beta * l_t - G_t held fixed, so its
    size is sum_t G_t^2 / (2 * beta). With `optimal_baseline` the `optimal_baselines` are subtracted from the G_t.
    """
    soft_cost_BK = soft_costs(batch, step)
    to_go_BK = residuals_to_go(batch, soft_cost_BK, step)
    if batch.optimal_baseline_B.numel():
        to_go_BK = to_go_BK - batch.optimal_baseline_B[:, None]
    target_BK = (soft_cost_BK - to_go_BK).detach()
    return ((soft_cost_BK - target_BK) ** 2 * batch.played()).sum(1) / (2 * step.beta)
