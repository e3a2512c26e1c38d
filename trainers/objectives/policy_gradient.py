"""Plain policy gradients: the score of what was sampled, times how much better it went than expected.

The KL term is part of the reward: r_t - beta * l_t with the log-ratio at sampling time. The log-ratio as a term of the
loss would have no gradient in expectation.

Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

from torch import Tensor

from turngym.trainers.objectives.groups import lead_over_others, sums_to_go
from turngym.trainers.objectives.registry import Samples, Settings, objective


def soft_rewards(samples: Samples, settings: Settings) -> Tensor:
    """Return r_t - beta * (log pi_sampler - log pi_ref) of every turn, `[B, K]`."""
    return samples.reward_BK - settings.beta * samples.per_turn(samples.old_logp_N - samples.ref_logp_N)


def reinforce_advantages(samples: Samples, settings: Settings) -> Tensor:
    """Return the soft reward-to-go of each token's turn less the value before the turn, `[N]`."""
    return samples.of_turns(sums_to_go(soft_rewards(samples, settings)) - samples.value_BK)


def rloo_advantages(samples: Samples, settings: Settings) -> Tensor:
    """Return the soft return of each token's episode less the mean of the others of its group, `[N]`."""
    return lead_over_others(soft_rewards(samples, settings).sum(1), samples.group_B)[samples.row_N]


@objective(
    "reinforce",
    source="REINFORCE, Williams 1992: (R - baseline) * grad log pi, with reward-to-go and the KL in the reward",
    advantages=reinforce_advantages,
    reference=True,
    values=True,
)
def reinforce(samples: Samples, _: Settings) -> Tensor:
    """Return -sum_t A_t * log pi(a_t | s_t) for each episode, `[B]`."""
    return -samples.per_episode(samples.advantage_N * samples.logp_N)


@objective(
    "rloo",
    source="RLOO, arXiv:2402.14740: (R_i - sum_{j != i} R_j / (n - 1)) * grad log pi, the KL in the reward",
    advantages=rloo_advantages,
    groups=True,
    reference=True,
)
def rloo(samples: Samples, _: Settings) -> Tensor:
    """Return -A * log pi(episode) for each episode, `[B]`."""
    return -samples.per_episode(samples.advantage_N * samples.logp_N)
