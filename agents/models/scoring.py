"""Episodes as padded token tensors, and the log-probabilities of what was sampled in them.

Shapes: B episodes, T tokens (padded), V vocabulary, N sampled tokens of the batch in order, K turns (padded).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel

MAX_STRETCH = 1.3
"""How much longer than the shortest episode of a batch the longest may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """Episodes of similar length, padded on the right."""

    members: list[int]  # [B]
    """Position of each row's episode in the list that was batched."""
    ids_BT: Tensor
    """Token streams; what stands in the padding does not matter."""
    sampled_BT: Tensor
    """True where the agent sampled the token: the loss mask, written when the stream was."""
    episode_N: Tensor
    """The row of each sampled token."""
    turn_N: Tensor
    """The turn, counted from 0 in its episode, of each sampled token."""
    num_turns: int
    """K, the most turns of an episode here."""


def token_batches(
    episodes: Sequence[Episode],
    max_tokens: int,
    device: torch.device,
    units: Iterable[Sequence[int]] | None = None,
) -> Iterator[TokenBatch]:
    """Split episodes into batches of similar length with at most `max_tokens` padded tokens each.

    Args:
        episodes: What is batched; those without a sampled token are left out.
        max_tokens: Most padded tokens of a batch; a unit that needs more has a batch to itself.
        device: Where the tensors go.
        units: Positions of the episodes that must share a batch; what no unit names is left out. None for every episode
            on its own.
    """
    length = {i: len(episode.token_ids) for i, episode in enumerate(episodes) if episode.num_sampled}
    together = [[i] for i in length] if units is None else [[i for i in unit if i in length] for unit in units]
    members: list[int] = []
    shortest = 0
    for width, unit in sorted((max(map(length.__getitem__, unit)), unit) for unit in together if unit):
        full = (len(members) + len(unit)) * width > max_tokens
        if members and (full or width > MAX_STRETCH * shortest):
            yield _pad(episodes, members, device)
            members = []
        shortest = shortest if members else width
        members += unit
    if members:
        yield _pad(episodes, members, device)


def _pad(episodes: Sequence[Episode], members: list[int], device: torch.device) -> TokenBatch:
    width = max(len(episodes[i].token_ids) for i in members)
    ids = np.zeros((len(members), width), dtype=np.int64)
    turns = np.full((len(members), width), -1, dtype=np.int64)
    for row, i in enumerate(members):
        episode = episodes[i]
        ids[row, : len(episode.token_ids)] = episode.token_ids
        for number, turn in enumerate(episode.turns):
            turns[row, slice(*turn.span)] = number
    rows_N, columns_N = np.nonzero(turns >= 0)
    return TokenBatch(
        members=members,
        ids_BT=torch.from_numpy(ids).to(device),
        sampled_BT=torch.from_numpy(turns >= 0).to(device),
        episode_N=torch.from_numpy(rows_N).to(device),
        turn_N=torch.from_numpy(turns[rows_N, columns_N]).to(device),
        num_turns=max(len(episodes[i].turns) for i in members),
    )


def sampled_logprobs(model: LanguageModel, batch: TokenBatch, temperature: float = 1.0) -> Tensor:
    """Return log pi(token | everything before it) of every sampled token, nats, `[N]`, in at least float32.

    Args:
        model: The policy or the reference.
        batch: The episodes.
        temperature: The sampling temperature; the logits are divided by it, as they were when sampling.
    """
    return sampled_scores(model, batch, temperature, critic=None)[0]


def sampled_scores(
    model: LanguageModel, batch: TokenBatch, temperature: float, *, critic: torch.nn.Linear | None
) -> tuple[Tensor, Tensor]:
    """Return `sampled_logprobs` and what the critic says before each of these tokens, both `[N]`.

    Without a critic the second is empty.
    """
    # Padding lies after every real token, so causal attention alone keeps it out: no attention mask is needed.
    output = model.model(input_ids=batch.ids_BT[:, :-1], use_cache=False, output_hidden_states=critic is not None)
    predicts_BT = batch.sampled_BT[:, 1:]
    logits_NV = output.logits[predicts_BT]
    precision = torch.promote_types(logits_NV.dtype, torch.float32)
    logp_NV = torch.log_softmax(logits_NV.to(precision) / temperature, dim=-1)
    logp_N = logp_NV.gather(1, batch.ids_BT[:, 1:][predicts_BT][:, None])[:, 0]
    if critic is None:
        return logp_N, logp_N.new_empty(0)
    value_N: Tensor = critic(output.hidden_states[-1][predicts_BT])[:, 0]
    return logp_N, value_N.to(precision)
