"""Plain policy gradients: grad log pi of the sampled tokens times an advantage.

The KL term is part of the reward: r_t - beta * l_t with the log-ratio at sampling time. The log-ratio as a term of the
loss would have no gradient in expectation.

Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

from torch import Tensor

from turngym.trainers.config import KLRegularised
from turngym.trainers.objectives.groups import leave_one_out_advantage, sums_to_go
from turngym.trainers.objectives.registry import StepParams, TrainingBatch, objective


def soft_rewards(batch: TrainingBatch, step: StepParams[KLRegularised]) -> Tensor:
    """Return r_t - beta * (log pi_sampler - log pi_ref) of every turn, `[B, K]`."""
    return batch.reward_BK - step.beta * batch.per_turn(batch.old_logp_N - batch.ref_logp_N)


def reinforce_advantages(batch: TrainingBatch, step: StepParams[KLRegularised]) -> Tensor:
    """Return the soft reward-to-go of each token's turn less the value before the turn, `[N]`."""
    return batch.gather_turns(sums_to_go(soft_rewards(batch, step)) - batch.value_BK)


def rloo_advantages(batch: TrainingBatch, step: StepParams[KLRegularised]) -> Tensor:
    """Return the soft return of each token's episode less the mean of the others of its group, `[N]`."""
    return leave_one_out_advantage(soft_rewards(batch, step).sum(1), batch.group_B)[batch.episode_N]


@objective(
    "reinforce",
    source="REINFORCE, Williams 1992: (R - baseline) * grad log pi, with reward-to-go and the KL in the reward",
    advantages=reinforce_advantages,
    needs_reference=True,
    policy_gradient=True,
)
def reinforce(batch: TrainingBatch, _: StepParams[KLRegularised]) -> Tensor:
    """Return -sum_t A_t * log pi(a_t | s_t) for each episode, `[B]`."""
    return -batch.per_episode(batch.advantage_N * batch.logp_N)


@objective(
    "rloo",
    source="RLOO, arXiv:2402.14740: (R_i - sum_{j != i} R_j / (n - 1)) * grad log pi, the KL in the reward",
    advantages=rloo_advantages,
    needs_reference=True,
    policy_gradient=True,
)
def rloo(batch: TrainingBatch, _: StepParams[KLRegularised]) -> Tensor:
    """Return -A * log pi(episode) for each episode, `[B]`."""
    return -batch.per_episode(batch.advantage_N * batch.logp_N)
