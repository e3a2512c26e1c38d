"""Episodes as padded token tensors, and the log-probabilities of what was sampled in them.

Shapes: B episodes, R rows of tokens, T tokens (padded), V vocabulary, N sampled tokens of the batch in order, K turns
(padded).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.agents.models.decoder import head_reads
from turngym.agents.models.language_model import LanguageModel

MAX_STRETCH = 1.3
"""How much longer than the shortest episode of a batch the longest may be."""
ROW_STRETCH = 2.0
"""How much longer than the shortest row of a tensor the longest may be, where episodes have several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """Rows of tokens of similar length, padded on the right."""

    ids_RT: Tensor
    """What the model sees; what stands in the padding does not matter."""
    sampled_RT: Tensor
    """True where the agent sampled the token: the loss mask, written when the stream was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """Episodes of similar length, each with all of its rows."""

    members: list[int]  # [B]
    """Position of each episode in the list that was batched."""
    parts: list[TokenRows]
    """Their rows that hold a sampled token; a single tensor where every episode has one."""
    order_N: Tensor | None
    """The place of each sampled token among those of the parts, one part after the other; None where it is its own."""
    episode_N: Tensor
    """The place in `members` of the episode of each sampled token."""
    turn_N: Tensor
    """The turn, counted from 0 in its episode, of each sampled token."""
    num_turns: int
    """K, the most turns of an episode here."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of an episode, before it is padded."""

    place: int
    """Of the episode in its batch."""
    start: int
    """Of the row in the stream of the episode."""
    ids: list[int]
    sampled: list[tuple[int, slice]]
    """What was sampled in it: the numbers of the turns and their places in the row."""


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
    lengths = {i: _lengths(episode) for i, episode in enumerate(episodes) if episode.num_sampled}
    together = [[i] for i in lengths] if units is None else [[i for i in unit if i in lengths] for unit in units]
    members: list[int] = []
    shortest = 0
    for width, unit in sorted((max(max(lengths[i]) for i in unit), unit) for unit in together if unit):
        padded = sum(len(part) * max(part) for part in _similar([lengths[i] for i in [*members, *unit]]))
        if members and (padded > max_tokens or width > MAX_STRETCH * shortest):
            yield _pad(episodes, members, device)
            members = []
        shortest = shortest if members else width
        members += unit
    if members:
        yield _pad(episodes, members, device)


def _similar(lengths: Sequence[Sequence[int]]) -> list[list[int]]:
    """Split the lengths of all rows of some episodes into those that share a tensor."""
    rows = sorted(length for of_episode in lengths for length in of_episode)
    if len(rows) == len(lengths):
        return [rows]
    parts = [[rows[0]]]
    for length in rows[1:]:
        if length <= ROW_STRETCH * parts[-1][0]:
            parts[-1].append(length)
        else:
            parts.append([length])
    return parts


def _pad(episodes: Sequence[Episode], members: list[int], device: torch.device) -> TokenBatch:
    rows = [row for place, i in enumerate(members) for row in _rows(episodes[i], place)]
    widths = [max(part) for part in _similar([_lengths(episodes[i]) for i in members])]
    parts, owners = [], []
    for shorter, width in zip([-1, *widths], widths, strict=False):
        part = [row for row in rows if shorter < len(row.ids) <= width]
        ids = np.zeros((len(part), width), dtype=np.int64)
        turns = np.full((len(part), width), -1, dtype=np.int64)
        for line, row in enumerate(part):
            ids[line, : len(row.ids)] = row.ids
            for number, place in row.sampled:
                turns[line, place] = number
        rows_N, columns_N = np.nonzero(turns >= 0)
        place_R, start_R = (np.array([getattr(row, name) for row in part]) for name in ("place", "start"))
        owners.append(np.stack([place_R[rows_N], start_R[rows_N] + columns_N, turns[rows_N, columns_N]]))
        parts.append(TokenRows(ids_RT=torch.from_numpy(ids).to(device),
                               sampled_RT=torch.from_numpy(turns >= 0).to(device)))  # fmt: skip
    place_N, column_N, turn_N = np.concatenate(owners, axis=1)
    order_N = np.lexsort((column_N, place_N))
    return TokenBatch(
        members=members,
        parts=parts,
        order_N=torch.from_numpy(order_N).to(device) if len(parts) > 1 else None,
        episode_N=torch.from_numpy(place_N[order_N]).to(device),
        turn_N=torch.from_numpy(turn_N[order_N]).to(device),
        num_turns=max(len(episodes[i].turns) for i in members),
    )


def _rows(episode: Episode, place: int) -> Iterator[_Row]:
    """Yield the rows of an episode that hold a sampled token."""
    for start, stop in episode.rows():
        sampled = [(number, slice(first - start, end - start)) for number, turn in enumerate(episode.turns)
                   if turn.row_start == start for first, end in turn.sampled() if end]  # fmt: skip
        if sampled:
            yield _Row(place, start, episode.token_ids[start:stop], sampled)


def _lengths(episode: Episode) -> list[int]:
    return [len(row.ids) for row in _rows(episode, 0)]


def sampled_logprobs(model: LanguageModel, batch: TokenBatch, temperature: float = 1.0) -> Tensor:
    """Return log pi(token | everything before it in its row) of every sampled token, nats, `[N]`, in at least float32.

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
    scores = [_row_scores(model, part, temperature, critic) for part in batch.parts]
    if batch.order_N is None:
        return scores[0]
    logp_N, value_N = (torch.cat(of_parts) for of_parts in zip(*scores, strict=True))
    return logp_N[batch.order_N], value_N if critic is None else value_N[batch.order_N]


def _row_scores(
    model: LanguageModel, rows: TokenRows, temperature: float, critic: torch.nn.Linear | None
) -> tuple[Tensor, Tensor]:
    """Return both scores of the sampled tokens of some rows, in the order of the tensor."""
    # Padding lies after every real token, so causal attention alone keeps it out: no attention mask is needed.
    predicts_RT = rows.sampled_RT[:, 1:]
    with model.computing(), head_reads(model.model, predicts_RT):
        output = model.model(input_ids=rows.ids_RT[:, :-1], use_cache=False, output_hidden_states=critic is not None)
    logits_NV = output.logits
    precision = torch.promote_types(logits_NV.dtype, torch.float32)
    logp_NV = torch.log_softmax(logits_NV.to(precision) / temperature, dim=-1)
    logp_N = logp_NV.gather(1, rows.ids_RT[:, 1:][predicts_RT][:, None])[:, 0]
    if critic is None:
        return logp_N, logp_N.new_empty(0)
    value_N: Tensor = critic(output.hidden_states[-1][predicts_RT].to(critic.weight.dtype))[:, 0]
    return logp_N, value_N.to(precision)
