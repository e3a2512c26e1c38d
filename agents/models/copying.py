"""First weights with which a small decoder copies before it has learned anything: an induction circuit.

An agent that is to say what it has read must find where a word stood, and say the word after it. Two layers of
attention do that (Olsson et al., 2022, "In-context Learning and Induction Heads"): heads of the first write beside each
token which one stood before it, and heads of the second look for the places where that is the present token, and say
what they find there. Small decoders learn this circuit late, all at once, or in a short course never. Here it is
written into the first weights, which are then trained like all others.

Shapes: D hidden width, H width of a head, C copying heads of a layer, M dimensions in which a head compares tokens.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers import SeedOssForCausalLM
from transformers.models.seed_oss.modeling_seed_oss import SeedOssAttention

from turngym.agents.models.rotary import RotaryPairs, check_copying, rotary_pairs

EMBEDDING_FACTOR = 5.0
"""Token embeddings in units of the usual ones, so that logits of the same embeddings can be sharp."""
NEIGHBOUR_GAP = 6.0
"""Nats by which a head of the first layer prefers the token before to the present one."""
MATCH = 30.0
"""Nats, about, by which a head of the second layer prefers a place that matches to one that does not."""
COPY = 3.0
"""What a head of the second layer writes, in units of the embedding that it finds."""


@torch.no_grad()
def write_copying(network: SeedOssForCausalLM) -> None:
    """Write weights that copy into the first two layers of a fresh decoder with tied embeddings, in place.

    All heads of these layers but one take part, or the only one. Token embeddings are kept out of the directions that
    the first layer writes to. Directions are drawn from the global generator of torch.

    Raises:
        ValueError: The decoder has too few layers or rotary pairs; the message says what would do.
    """
    config = network.config
    heads, hidden = config.num_attention_heads, config.hidden_size
    width, context = hidden // heads, config.max_position_embeddings
    rope: Any = config.rope_parameters
    check_copying(layers=config.num_hidden_layers, width=width, rope_base=rope["rope_theta"], context_length=context)
    pairs = rotary_pairs(width, base=rope["rope_theta"], context_length=context)
    copying = max(1, heads - 1)
    matched = min(len(pairs.slow), hidden // (4 * copying))  # pairs, of two dimensions each
    read_CMD, written_CMD, others_D = _directions(hidden, copying, 2 * matched)
    embeddings_VD = network.model.embed_tokens.weight
    written_D = written_CMD.flatten(0, 1)
    embeddings_VD -= embeddings_VD @ written_D.T @ written_D
    embeddings_VD *= EMBEDDING_FACTOR
    size = EMBEDDING_FACTOR * config.initializer_range
    layers: Any = network.model.layers
    first, second = layers[0].self_attn, layers[1].self_attn
    for head in range(copying):
        rows = slice(head * width, (head + 1) * width)
        _attend_to_the_token_before(first, rows, pairs)
        _carry(first, rows, read_CMD[head], size * written_CMD[head])
        slow = [place + half for half in (0, width // 2) for place in pairs.slow[-matched:]]
        _match(second, rows, slow, read_CMD[head], written_CMD[head])
        found_D = others_D[(torch.arange(min(width, len(others_D))) + head * width) % len(others_D)]
        _carry(second, rows, found_D, COPY * size * found_D)


def _directions(hidden: int, copying: int, dims: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what heads read of a token, `[C, M, D]`, where they write it, `[C, M, D]`, and all but the latter.

    All are rows of one random orthogonal matrix, so that what stands before a token is not mixed with the token.
    """
    random_DD, _ = torch.linalg.qr(torch.randn(hidden, hidden))
    written_D, others_D = random_DD[: copying * dims], random_DD[copying * dims :]
    shape = (copying, dims, hidden)
    return others_D[: copying * dims].reshape(shape), written_D.reshape(shape), others_D


def _attend_to_the_token_before(attention: SeedOssAttention, rows: slice, pairs: RotaryPairs) -> None:
    """Give a head the same query and key at every place, whose product peaks one token back."""
    half = len(pairs.frequencies)
    gap = sum(1.0 - math.cos(pairs.frequencies[place]) for place in pairs.fast)
    size = math.sqrt(NEIGHBOUR_GAP * math.sqrt(2 * half) / gap)
    query_H, key_H = torch.zeros(2 * half), torch.zeros(2 * half)
    for place in pairs.fast:
        turn = pairs.frequencies[place]
        query_H[place] = size
        key_H[place], key_H[place + half] = size * math.cos(turn), size * math.sin(turn)
    for projection, bias_H in ((attention.q_proj, query_H), (attention.k_proj, key_H)):
        projection.weight[rows] = 0.0
        projection.bias[rows] = bias_H


def _match(attention: SeedOssAttention, rows: slice, dims: list[int], query_MD: Tensor, key_MD: Tensor) -> None:
    """Let a head compare what a query reads of the present token with what a key reads of every place."""
    size = math.sqrt(MATCH * math.sqrt(rows.stop - rows.start) / len(dims))
    for projection, read_MD in ((attention.q_proj, query_MD), (attention.k_proj, key_MD)):
        weight_HD = torch.zeros_like(projection.weight[rows])
        weight_HD[dims] = size * read_MD
        projection.weight[rows] = weight_HD


def _carry(attention: SeedOssAttention, rows: slice, read_MD: Tensor, write_MD: Tensor) -> None:
    """Let a head read directions where it attends, and write each to another."""
    count = len(read_MD)
    for weight_HD, directions_MD in (
        (attention.v_proj.weight[rows], read_MD),
        (attention.o_proj.weight.T[rows], write_MD),
    ):
        weight_HD.zero_()
        weight_HD[:count] = directions_MD
