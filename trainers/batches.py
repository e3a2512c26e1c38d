"""Batches: episodes as the tensors that an objective reads, and their minibatches and microbatches.

Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.agents.models.decoder import recomputing
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import TokenBatch, sampled_logprobs, token_batches
from turngym.seeds import Stream, generator
from turngym.trainers import ranks
from turngym.trainers.config import LearningConfig
from turngym.trainers.objectives import Objective, TrainingBatch


def make_batch(episodes: Sequence[Episode], policy: LanguageModel) -> TrainingBatch:
    """Return episodes as a batch, in the policy's precision (at least float32) and on its device.

    Values, reference, critic and advantages are filled in later.

    Args:
        episodes: At least one, recorded by an agent that samples tokens.
        policy: The model that learns from them.
    """
    shape = len(episodes), max(len(episode.turns) for episode in episodes)
    reward, state, tokens = np.zeros(shape), np.full(shape, -1), np.zeros(shape, dtype=np.int64)
    numbers: dict[tuple[int, str], int] = {}
    for row, episode in enumerate(episodes):
        for place, turn in enumerate(episode.turns):
            reward[row, place] = turn.reward
            state[row, place] = numbers.setdefault((episode.index, turn.state_key), len(numbers))
            tokens[row, place] = turn.num_sampled
    rows, places = np.indices(shape)
    recorded = [logprob for episode in episodes for turn in episode.turns for logprob in turn.logprobs]
    dtype = torch.promote_types(policy.model.dtype, torch.float32)
    old_logp_N = torch.tensor(recorded, dtype=dtype, device=policy.device)
    return TrainingBatch(
        logp_N=old_logp_N,
        old_logp_N=old_logp_N,
        episode_N=torch.from_numpy(np.repeat(rows.ravel(), tokens.ravel())).to(policy.device),
        turn_N=torch.from_numpy(np.repeat(places.ravel(), tokens.ravel())).to(policy.device),
        reward_BK=torch.from_numpy(reward).to(dtype).to(policy.device),
        group_B=torch.tensor([episode.index for episode in episodes], device=policy.device),
        state_BK=torch.from_numpy(state).to(policy.device),
        success_B=torch.tensor([episode.success for episode in episodes], device=policy.device),
    )


@torch.no_grad()
def batch_logprobs(
    model: LanguageModel, batch: TrainingBatch, parts: Sequence[TokenBatch], temperature: float
) -> Tensor:
    """Return a model's log-probability of every sampled token of a batch, nats, `[N]`; all ranks share the work.

    Args:
        model: The policy or the reference.
        batch: Episodes as tensors.
        parts: The same episodes in micro-batches; tokens of those that are in none have 0.
        temperature: The sampling temperature.
    """
    logp_N = torch.zeros_like(batch.old_logp_N)
    for part, counts in ranks.passes(parts):
        scored_N = sampled_logprobs(model, part, temperature).to(logp_N.dtype)
        logp_N[batch.token_positions(part.members)] = counts * scored_N
    return ranks.total(logp_N)


def kept_activations(model: LanguageModel, learning: LearningConfig) -> AbstractContextManager[None]:
    """Keep of the forward passes in the block what `learning.gradient_checkpointing` says."""
    return recomputing(model.model) if learning.recomputes(model.num_weights) else nullcontext()


def split_batch(
    episodes: Sequence[Episode],
    batch: TrainingBatch,
    objective: Objective,
    config: LearningConfig,
    *,
    seed: int,
    step: int,
) -> list[list[TokenBatch]]:
    """Return the microbatches of each minibatch of a step.

    The episodes of a group share a minibatch, and a microbatch where the objective pairs them. Which groups share a
    minibatch is drawn anew in every step, and is the same in all passes over its batch.

    Args:
        episodes: The episodes.
        batch: The same episodes as tensors.
        objective: Tells whether the episodes of a group are paired.
        config: Tells the number of minibatches and the most tokens of a microbatch.
        seed: The seed of the run.
        step: Steps taken before this one.
    """
    groups: dict[int, list[int]] = {}
    for row, group in enumerate(batch.group_B.tolist()):
        groups.setdefault(group, []).append(row)
    units = list(groups.values())
    if config.minibatches > 1:
        rng = generator(seed, Stream.MINIBATCHES, step)
        units = [units[place] for place in rng.permutation(len(units))]
    parts = [units[part :: config.minibatches] for part in range(min(config.minibatches, len(units)))]
    if not objective.needs_pairs:
        parts = [[[row] for unit in part for row in unit] for part in parts]
    device = batch.logp_N.device
    return [list(token_batches(episodes, config.tokens_per_microbatch, device, part)) for part in parts]
