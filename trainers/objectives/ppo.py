"""PPO with a value head: advantages by GAE over tokens, over turns, or on both levels.

Shapes: B episodes, N sampled tokens, T tokens of one episode, K turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from turngym.trainers.config import PpoConfig
from turngym.trainers.objectives.clipped import clipped_surrogate, kl_penalty
from turngym.trainers.objectives.groups import whitened
from turngym.trainers.objectives.registry import StepParams, TrainingBatch, objective

Spread = tuple[list[float], list[float]]
"""For every token of an episode: its advantage, and the value that was subtracted in it."""


def gae(rewards: Sequence[float], values: Sequence[float], discount: float, decay: float) -> list[float]:
    """Return sum_k (discount * decay)^k * delta_{t+k}, delta_t = r_t + discount * V_{t+1} - V_t, V = 0 after the end.

    Reference: GAE, arXiv:1506.02438.
    """
    advantages: list[float] = []
    following = advantage = 0.0
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        advantage = reward + discount * following - value + discount * decay * advantage
        following = value
        advantages.append(advantage)
    return advantages[::-1]


def token_gae(spans: Sequence[tuple[int, int]], rewards: Sequence[float], values: Sequence[float],
              step: StepParams[PpoConfig]) -> Spread:  # fmt: skip
    """Spread over one chain of all tokens of an episode, a turn's reward on its last token; each has its own value."""
    of_tokens = [0.0] * len(values)
    for (_, stop), reward in zip(spans, rewards, strict=True):
        of_tokens[stop - 1] += reward
    return gae(of_tokens, values, step.config.gamma, step.config.gae_lambda), list(values)


def turn_gae(spans: Sequence[tuple[int, int]], rewards: Sequence[float], values: Sequence[float],
             step: StepParams[PpoConfig]) -> Spread:  # fmt: skip
    """Give every token the advantage of its turn: a turn is one action, with the value before its first token."""
    starts = [values[start] for start, _ in spans]
    advantages = gae(rewards, starts, step.config.turn_gamma, step.config.gae_lambda)
    turns = [turn for turn, (start, stop) in enumerate(spans) for _ in range(start, stop)]
    return [advantages[turn] for turn in turns], [starts[turn] for turn in turns]


def bilevel_gae(spans: Sequence[tuple[int, int]], rewards: Sequence[float], values: Sequence[float],
                step: StepParams[PpoConfig]) -> Spread:  # fmt: skip
    """Spread first over turns, then over the tokens of each turn; each token has its own value.

    The turns are valued at their last tokens and discounted by `turn_gamma`; the return so found is the reward at
    the end of the turn's own chain of tokens (RAGEN, arXiv:2504.20073, and its code, in which a turn whose reward is 0
    is no turn of its own; here it is).
    """
    ends = [values[stop - 1] for _, stop in spans]
    over_turns = gae(rewards, ends, step.config.turn_gamma, step.config.gae_lambda)
    advantages: list[float] = []
    for (start, stop), end, advantage in zip(spans, ends, over_turns, strict=True):
        inner = [0.0] * (stop - start - 1) + [advantage + end]
        advantages += gae(inner, values[start:stop], step.config.gamma, step.config.gae_lambda)
    return advantages, list(values)


GAE_LEVELS = {"token": token_gae, "turn": turn_gae, "bilevel": bilevel_gae}
"""The levels of GAE, by their names in a configuration."""


def gae_advantages(batch: TrainingBatch, step: StepParams[PpoConfig]) -> tuple[Tensor, Tensor]:
    """Return the advantage of each token, not yet whitened, and the critic's value subtracted in it, each `[N]`.

    Turns without a sampled token (the context was full) hand their reward to the last turn that has one.
    """
    spread = GAE_LEVELS[step.config.gae_level]
    advantage_N, base_N = torch.zeros_like(batch.critic_N), torch.zeros_like(batch.critic_N)
    for row, reward_K in enumerate(batch.reward_BK.tolist()):
        own_N = batch.episode_N == row
        lengths = torch.bincount(batch.turn_N[own_N])
        stops = lengths.cumsum(0).tolist()
        spans = list(zip([0, *stops[:-1]], stops, strict=True))
        rewards = [*reward_K[: len(spans) - 1], sum(reward_K[len(spans) - 1 :])]
        advantages, bases = spread(spans, rewards, batch.critic_N[own_N].tolist(), step)
        advantage_N[own_N], base_N[own_N] = advantage_N.new_tensor(advantages), base_N.new_tensor(bases)
    return advantage_N, base_N


def ppo_advantages(batch: TrainingBatch, step: StepParams[PpoConfig]) -> Tensor:
    """Return the advantage of each token, whitened over the batch, `[N]`."""
    advantage_N, base_N = gae_advantages(batch, step)
    return whitened(advantage_N, advantage_N.abs() + base_N.abs())


def ppo_returns(batch: TrainingBatch, step: StepParams[PpoConfig]) -> Tensor:
    """Return the critic's target before each token, `[N]`: the return of the chain of tokens, or of the turn, it is in.

    That is the advantage plus the value subtracted in it, which need not be the value before the token itself.
    """
    advantage_N, base_N = gae_advantages(batch, step)
    return advantage_N + base_N


@objective(
    "ppo",
    source="PPO, arXiv:1707.06347, eq. 9 without entropy; bi-level GAE: RAGEN, arXiv:2504.20073",
    advantages=ppo_advantages,
    returns=ppo_returns,
    policy_gradient=True,
)
def ppo(batch: TrainingBatch, step: StepParams[PpoConfig]) -> Tensor:
    """Return the clipped surrogate, the KL penalty and the critic's squared error summed over tokens, `[B]`.

    The step's mean is over tokens. The critic's targets are those of `ppo_returns`.
    """
    error_N = step.config.vf_coef * 0.5 * (batch.critic_N - batch.return_N) ** 2
    cost_N = clipped_surrogate(batch, step.config.clip_low, step.config.clip_high) + kl_penalty(batch, step) + error_N
    return batch.per_episode(cost_N) / batch.tokens_per_episode
