"""From played episodes to what an objective reads, and to the parts in which a batch is learned from.

Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.agents.language_model import LanguageModel
from turngym.agents.scoring import TokenBatch, token_batches
from turngym.trainers.baselines.states import StateValues
from turngym.trainers.config import TrainConfig
from turngym.trainers.instances import level_of
from turngym.trainers.objectives import Objective, Samples
from turngym.trainers.objectives.groups import lead_over_others, turn_values
from turngym.trainers.prompts.curriculum import Tracker

MINIBATCH_STREAM = 5
"""Keeps the seeds of the parts of a batch apart from others."""


def as_samples(episodes: Sequence[Episode], policy: LanguageModel) -> Samples:
    """Collect what the episodes themselves tell, with the policy's precision (at least float32) and on its device.

    Args:
        episodes: At least one, recorded by a player that samples tokens.
        policy: Who learns from them.
    """
    shape = len(episodes), max(len(episode.turns) for episode in episodes)
    reward, state, tokens = np.zeros(shape), np.full(shape, -1), np.zeros(shape, dtype=np.int64)
    numbers: dict[tuple[int, str], int] = {}
    for row, episode in enumerate(episodes):
        for place, turn in enumerate(episode.turns):
            reward[row, place] = turn.reward
            state[row, place] = numbers.setdefault((episode.index, turn.state_key), len(numbers))
            tokens[row, place] = turn.span[1] - turn.span[0]
    rows, places = np.indices(shape)
    recorded = [logprob for episode in episodes for turn in episode.turns for logprob in turn.logprobs]
    dtype = torch.promote_types(policy.model.dtype, torch.float32)
    old_logp_N = torch.tensor(recorded, dtype=dtype, device=policy.device)
    return Samples(
        logp_N=old_logp_N,
        old_logp_N=old_logp_N,
        row_N=torch.from_numpy(np.repeat(rows.ravel(), tokens.ravel())).to(policy.device),
        turn_N=torch.from_numpy(np.repeat(places.ravel(), tokens.ravel())).to(policy.device),
        reward_BK=torch.from_numpy(reward).to(policy.device, dtype),
        group_B=torch.tensor([episode.index for episode in episodes], device=policy.device),
        state_BK=torch.from_numpy(state).to(policy.device),
        success_B=torch.tensor([episode.success for episode in episodes], device=policy.device),
    )


def values_before_turns(samples: Samples, tracker: Tracker, baseline: str) -> Tensor:
    """Return the value before each turn, from where `objectives.baseline` says, `[B, K]`.

    A value that is known for the start alone is carried on by what was earned since.

    Args:
        samples: A whole batch.
        tracker: The values of the instances, read and not updated.
        baseline: "tracker", "vstar", "batch" (the others of its level) or "none"; those of `STATE_BASELINES` are for
            `values_of_states`.
    """
    reward_BK = samples.reward_BK
    if baseline == "none":
        return torch.zeros_like(reward_BK)
    if baseline == "batch":
        return_B = reward_BK.sum(1)
        level_B = samples.group_B.new_tensor([level_of(index) for index in samples.group_B.tolist()])
        return turn_values(return_B - lead_over_others(return_B, level_B), reward_BK)
    value = tracker.value if baseline == "tracker" else tracker.first_value
    return turn_values(reward_BK.new_tensor([value(index) for index in samples.group_B.tolist()]), reward_BK)


def values_of_states(samples: Samples, episodes: Sequence[Episode], states: StateValues) -> Tensor:
    """Return the value of the state before each turn, `[B, K]`.

    Args:
        samples: A whole batch.
        episodes: The same as they were played.
        states: The values of states, read and not updated.
    """
    rows = [samples.reward_BK.new_tensor(states.before_turns(episode)) for episode in episodes]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def split_batch(
    episodes: Sequence[Episode], samples: Samples, objective: Objective, config: TrainConfig, *, step: int
) -> list[list[TokenBatch]]:
    """Return the micro-batches of each minibatch of a step.

    The episodes of a group share a minibatch, and a micro-batch where the objective pairs them. Which groups meet in a
    minibatch is drawn anew in every step, and stays for all passes over its batch.
    """
    stage = config.astarpo
    groups: dict[int, list[int]] = {}
    for row, group in enumerate(samples.group_B.tolist()):
        groups.setdefault(group, []).append(row)
    units = list(groups.values())
    if stage.minibatches > 1:
        rng = np.random.default_rng([config.run.seed, MINIBATCH_STREAM, step])
        units = [units[place] for place in rng.permutation(len(units))]
    parts = [units[part :: stage.minibatches] for part in range(min(stage.minibatches, len(units)))]
    if not objective.paired:
        parts = [[[row] for unit in part for row in unit] for part in parts]
    device = samples.logp_N.device
    return [list(token_batches(episodes, stage.tokens_per_microbatch, device, part)) for part in parts]
