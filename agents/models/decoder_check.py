"""Whether a decoder is played with the probabilities that it is trained with: by its configuration, then by trying.

Sampling reads conversations of different lengths with one cache and a mask of its own; training reads whole streams in
one plain pass. Decoders whose layers do not attend to the whole stream give other probabilities in the two, or fail in
the first. No list of architectures can be complete, so a few short conversations are read in both ways.

Shapes: N places in streams, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turngym.agents.models.decoder import CachedDecoder, evaluating
from turngym.agents.models.errors import CheckpointError, reason_of
from turngym.agents.models.playable import check_config
from turngym.agents.models.row import Row

ATTENTION = ("sdpa", "eager")
"""The attention functions that take a mask of their own for every row."""
CHUNKED = "chunked"
"""What the library calls layers that attend within chunks of fixed borders."""
SPAN_WORDS = ("window", "chunk", "local", "block", "topk")
"""A number in the configuration with one of these in its name may say how far a layer sees."""
TRIED = ({0: 20, 1: 5}, {0: 1, 1: 1, 2: 9}, {1: 4, 2: 1}, {2: 1}, {0: 1, 3: 7, 2: 3})
"""How many ids each conversation reads at a time, as in play: openings, answers and single ids, in all rows and few."""
SLOTS = (0, 1, 2, 1)
"""The slot of each of these conversations; the last one takes the place of another."""
LONGEST_TRIED = 22
"""Ids of the longest of them; it becomes longer where layers may see less than a stream of this length."""
SMALLEST_SPREAD = 1e-4
"""Nats; logits closer together are all the same."""
LARGEST_DIFFERENCE = {torch.float64: 1e-6, torch.float32: 2e-3}
"""Of two log-probabilities, in units of their spread over the vocabulary; rounding alone stays far below."""
LARGEST_ROUGH_DIFFERENCE = 0.3
"""The same in lower precision."""


def check_decoder(network: Any, context_length: int, compute_dtype: torch.dtype | None = None) -> None:
    """Check that cached play of ragged rows has the log-probabilities of a plain forward pass.

    It takes as long as reading about 50 ids, and up to twice the widest span that the configuration names and the
    context exceeds.

    Args:
        network: The decoder.
        context_length: Longest stream that will be played.
        compute_dtype: The precision of its matrix products; None for that of its weights.

    Raises:
        CheckpointError: The decoder does not attend to all of such a stream, or fails; the message says what differs.
    """
    check_config(network.config)
    name, config = type(network).__name__, network.config.get_text_config()
    function = config._attn_implementation  # noqa: SLF001 - the library's only name for it
    if function not in ATTENTION:
        raise CheckpointError(f"attention by {function!r} takes no mask; load the model with "
                              "attn_implementation='sdpa'")  # fmt: skip
    for setting, width in _unplayed_spans(config):
        if width < context_length:
            raise CheckpointError(f"{name} sees {width} tokens at once ({setting} of its config.json), fewer than the "
                                  f"context of {context_length}: set model.context_length to at most {width}, or take "
                                  "a model with full attention")  # fmt: skip
    spans = {setting: span for setting, span in _spans(config.to_dict()) if span < context_length}
    try:
        with torch.inference_mode(), evaluating(network):
            worst = _worst_difference(network, min(2 * max(spans.values(), default=0), context_length))
    except Exception as error:  # an unfit decoder raises whatever its own code raises
        raise CheckpointError(
            f"{name} cannot be played: reading with a cache of rows of different lengths, it fails with "
            f"{type(error).__name__}: {reason_of(error)}; take a decoder with full attention"
        ) from error
    if not worst <= LARGEST_DIFFERENCE.get(compute_dtype or network.dtype, LARGEST_ROUGH_DIFFERENCE):
        named = ", ".join(f"{setting} {span}" for setting, span in spans.items())
        within = f", or set model.context_length to what its config.json may name as a span ({named})" if spans else ""
        raise CheckpointError(f"{name} cannot be played: read with a cache, rows of different lengths get other "
                              f"probabilities than in a plain forward pass (by {worst:.2g} of the spread of the logits)"
                              f"; take a decoder with full attention{within}")  # fmt: skip


def _unplayed_spans(config: Any) -> Iterator[tuple[str, int]]:
    """Yield what the configuration says of spans that are in use and cannot be played, in tokens.

    Sliding windows can be; whether they are as in training is tried.
    """
    kinds, setting = getattr(config, "layer_types", None), "attention_chunk_size"
    if getattr(config, setting, None) and (kinds is None or any(kind.startswith(CHUNKED) for kind in kinds)):
        yield setting, int(getattr(config, setting))
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":  # longer streams rotate all their keys by other angles
        setting = "original_max_position_embeddings"
        width = rope.get(setting) or getattr(config, setting, None)
        if width:
            yield setting, int(width)


def _spans(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield every whole number of a configuration that may be the span of a layer, wherever it stands."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _spans(value)
        elif isinstance(value, int) and any(word in key for word in SPAN_WORDS):
            yield key, int(value)


def _worst_difference(network: Any, longest: int) -> float:
    """Return the largest difference between cached and plain log-probabilities, in units of their spread."""
    draws, vocabulary = np.random.default_rng(0), int(network.get_input_embeddings().weight.shape[0])
    conversations = [Row([]) for _ in SLOTS]
    conversations[0].stream += draws.integers(vocabulary, size=max(0, longest - LONGEST_TRIED)).tolist()
    decoder = CachedDecoder(network, max(SLOTS) + 1, columns=max(longest, LONGEST_TRIED))
    ends, cached = [], []
    for reads in TRIED:
        for number, count in reads.items():
            stream = conversations[number].stream
            stream += draws.integers(vocabulary, size=count).tolist()
            ends.append((number, len(stream) - 1))
        cached.append(decoder.read({SLOTS[number]: conversations[number] for number in reads}))
    plain_NV = _plain_logits(network, [row.stream for row in conversations], ends).log_softmax(dim=-1)
    cached_NV = torch.cat(cached).to(plain_NV.dtype).log_softmax(dim=-1)
    difference_N = (cached_NV - plain_NV).abs().amax(-1) / (plain_NV.std(-1) + SMALLEST_SPREAD)
    return float(difference_N.max()) if torch.isfinite(difference_N).all() else math.inf


def _plain_logits(network: Any, streams: Sequence[list[int]], ends: Sequence[tuple[int, int]]) -> Tensor:
    """Return the logits at some places of streams, in one pass without a cache or a mask, as in training, `[N, V]`."""
    ids = np.zeros((len(streams), max(map(len, streams))), dtype=np.int64)
    for row, stream in enumerate(streams):
        ids[row, : len(stream)] = stream
    columns = sorted({column for _, column in ends})
    device = network.get_input_embeddings().weight.device
    output = network(input_ids=torch.from_numpy(ids).to(device), use_cache=False,
                     logits_to_keep=torch.tensor(columns, device=device))  # fmt: skip
    logits_NV: Tensor = torch.stack([output.logits[row, columns.index(column)] for row, column in ends])
    return logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
