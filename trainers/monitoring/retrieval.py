"""Template collapse: whether the first replies of a policy still depend on the prompt.

A policy may keep its entropy and yet ignore the prompt: its replies vary as before, but no longer with the prompt. Then
the mutual information I(reply; prompt) is 0. It is estimated from a matrix of cross scores
l_j(z_i) = log p(z_i | x_j), the log-probability of the reply z_i to prompt i had it been given to prompt j.

Reference: RAGEN-2, arXiv:2604.06268. Shapes: P prompts, each with the one reply that it got.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import sampled_logprobs, token_batches

PROMPTS = 16
"""Prompts in a measurement, which scores this number squared of sequences."""


def measure_retrieval(
    policy: LanguageModel,
    episodes: Sequence[Episode],
    *,
    temperature: float,
    max_reply_tokens: int,
    tokens_per_microbatch: int,
) -> dict[str, float]:
    """Return the numbers of `retrieval` for the first turns of a step's episodes, none with fewer than two prompts.

    It takes `PROMPTS` squared sequences through the model.

    Args:
        policy: The model, with the weights that sampled the episodes.
        episodes: The episodes of a step; of each first prompt the first episode counts.
        temperature: The temperature at which the episodes were sampled.
        max_reply_tokens: Longest reply.
        tokens_per_microbatch: Padded tokens per forward pass.
    """
    chosen = first_turns(episodes, PROMPTS, policy.context_length - max_reply_tokens)
    return retrieval(cross_scores(policy, chosen, temperature, tokens_per_microbatch)) if len(chosen) > 1 else {}


def first_turns(episodes: Sequence[Episode], count: int, longest: int) -> list[Episode]:
    """Return up to `count` episodes with different first prompts, each cut off after its first reply.

    Args:
        episodes: Those whose first turn has no sampled token are passed over.
        count: How many are wanted.
        longest: Most tokens of a prompt, so that any reply still fits behind it.
    """
    chosen: dict[tuple[int, ...], Episode] = {}
    for episode in episodes:
        turn = episode.turns[0]
        start, stop = turn.span
        prompt = tuple(episode.token_ids[:start])
        if len(chosen) < count and start < stop and start <= longest and prompt not in chosen:
            chosen[prompt] = replace(episode, turns=[turn], token_ids=episode.token_ids[:stop])
    return list(chosen.values())


@torch.no_grad()
def cross_scores(
    policy: LanguageModel, episodes: Sequence[Episode], temperature: float, tokens_per_microbatch: int
) -> Tensor:
    """Return log p(reply of row | prompt of column), summed over the tokens of the reply, nats, float64, `[P, P]`.

    Args:
        policy: The model.
        episodes: What `first_turns` returned.
        temperature: That sampled the replies.
        tokens_per_microbatch: Padded tokens per forward pass.
    """
    crossed = [give_to(reply, prompt) for reply in episodes for prompt in episodes]
    score = torch.zeros(len(crossed), dtype=torch.float64)
    for batch in token_batches(crossed, tokens_per_microbatch, policy.device):
        logp_N = sampled_logprobs(policy, batch, temperature).double()
        of_rows = logp_N.new_zeros(len(batch.members)).index_add(0, batch.episode_N, logp_N)
        score[batch.members] = of_rows.cpu()
    return score.view(len(episodes), len(episodes))


def give_to(reply: Episode, prompt: Episode) -> Episode:
    """Return an episode of one turn: the first prompt of `prompt` with the first reply of `reply`."""
    start, stop = reply.turns[0].span
    ids = prompt.token_ids[: prompt.turns[0].span[0]] + reply.token_ids[start:stop]
    moved, (begin, end) = len(ids) - stop, reply.turns[0].forced
    turn = replace(reply.turns[0], span=(start + moved, len(ids)), forced=(begin + moved, end + moved))
    return replace(prompt, turns=[turn], token_ids=ids)


def retrieval(score_PP: Tensor) -> dict[str, float]:
    """Return the numbers of template collapse from a matrix of cross scores.

    Args:
        score_PP: log p(reply of row | prompt of column), nats.

    Returns:
        retrieval_accuracy: Share of replies that are likeliest under their own prompt; a tie counts in part. 1 / P is
            chance.
        mi_proxy: Mean of log p(z_i | x_i) - log mean_j p(z_i | x_j), nats: an estimate of the mutual information of
            reply and prompt, at most log P, 0 where the prompt does not matter.
    """
    own_P = score_PP.diagonal()
    best_PP = score_PP == score_PP.max(1, keepdim=True).values
    marginal_P = score_PP.logsumexp(1) - math.log(len(score_PP))
    return {
        "retrieval_accuracy": float((best_PP.diagonal() / best_PP.sum(1)).mean()),
        "mi_proxy": float((own_P - marginal_P).mean()),
    }
