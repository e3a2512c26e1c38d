"""A causal language model that reads many conversations at once, each id once: rows of their own length, one cache.

Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turngym.agents.models.cache import PADDING, RaggedCache
from turngym.agents.models.hardware import on_device
from turngym.agents.models.limits import MAX_PASS_TOKENS
from turngym.agents.models.row import Row

MAX_STRETCH = 2
"""How many times more unread ids the longest row of a forward pass may have than the shortest, beyond `SLACK`."""
SLACK = 32
"""So few ids more or less are not worth a pass of their own."""
LONG_OPENING = 256
"""From so many ids on conversations that begin together are read without a mask, whose size is the square of that."""


class CachedDecoder:
    """A network with a cache of the conversations in its slots.

    Args:
        network: Any decoder of the transformers library that takes a cache and a four-dimensional mask, or one for each
            kind of its layers.
        slots: Conversations held at once.
        columns: Most ids of a conversation.
    """

    def __init__(self, network: Any, slots: int, columns: int) -> None:
        self._network = network
        config = network.config.get_text_config()
        self._windows = attention_windows(config)
        # What the library does without a mask: every token sees those before it, and no scores above them are computed.
        self._is_causal = config._attn_implementation == "sdpa" and not any(self._windows.values())  # noqa: SLF001
        self.cache = RaggedCache(int(config.num_hidden_layers), slots, columns)

    def read(self, rows: Mapping[int, Row]) -> Tensor:
        """Feed every id that the cache does not hold yet; return the logits after the last one of each row, `[B, V]`.

        Args:
            rows: The conversations by their slots; each has an unread id. A row whose `cached` is 0 begins anew.
        """
        parts = similar_parts({slot: len(row.stream) - row.cached for slot, row in rows.items()})
        if len(parts) == 1:
            return self._pass(rows)
        passes = [(part, self._pass({slot: rows[slot] for slot in part})) for part in parts]
        logits = {slot: row_V for part, logits_BV in passes for slot, row_V in zip(part, logits_BV, strict=True)}
        return torch.stack([logits[slot] for slot in rows])

    def _pass(self, rows: Mapping[int, Row]) -> Tensor:
        """Feed the unread ids of `rows` in one forward pass; return the logits after the last ones, `[B, V]`."""
        slots = list(rows)
        width = max(len(row.stream) - row.cached for row in rows.values())
        begins = self._is_causal and width >= LONG_OPENING and not any(row.cached for row in rows.values())
        # Rows are padded on the left so that the last column is the last id of every row; where all begin, on the
        # right, so that a column is a position. While most of the slots in use are busy all of them take part, the idle
        # ones with padding: a view of the cache is cheaper than a copy.
        in_use = max(slots) + 1
        everyone = 2 * len(slots) >= in_use
        height = in_use if everyone else len(slots)
        ids = np.zeros((height, width), dtype=np.int64)
        positions = np.full((height, width), PADDING, dtype=np.int64)
        for line, row in zip(slots if everyone else range(height), rows.values(), strict=True):
            new = row.stream[row.cached :]
            place = slice(len(new)) if begins else slice(width - len(new), width)
            ids[line, place] = new
            positions[line, place] = np.arange(row.cached, len(row.stream))
            row.cached = len(row.stream)
        device = next(self._network.parameters()).device
        positions_BT, slots_B = on_device(positions, device), on_device(np.array(slots, dtype=np.int64), device)
        members, length = None if everyone else slots_B, max(row.cached for row in rows.values())
        asked = {"input_ids": on_device(ids, device), "position_ids": positions_BT.clamp(min=0),
                 "past_key_values": self.cache, "use_cache": True}  # fmt: skip
        logits_BV: Tensor
        if begins:
            self.cache.begin(members, positions_BT, length)
            with head_reads(self._network, (torch.arange(height, device=device), positions_BT.argmax(dim=1))):
                logits_BV = self._network(attention_mask=None, **asked).logits
        else:
            mask = self._masks(self.cache.place(members, positions_BT, length), positions_BT)
            logits_BV = self._network(attention_mask=mask, logits_to_keep=1, **asked).logits[:, -1]
        return logits_BV[slots_B] if everyone else logits_BV

    def _masks(self, may_see: Tensor, positions_BT: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the mask, or one for each kind of layer where there are several."""
        masks = {kind: self._mask(may_see if window is None else may_see & self.cache.recent(positions_BT, window))
                 for kind, window in self._windows.items()}  # fmt: skip
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, may_see: Tensor) -> Tensor:
        """Return what is added to the scores of attention."""
        dtype = self._network.dtype
        return torch.zeros_like(may_see, dtype=dtype).masked_fill_(~may_see, torch.finfo(dtype).min)


def attention_windows(config: Any) -> dict[str, int | None]:
    """Return how many tokens each kind of layer of a decoder sees at once, itself included; None for all of them.

    Where a decoder has several kinds, the library takes a mask for each, by these names.
    """
    window: int | None = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return {"all": window}
    return {kind: window if kind.startswith("sliding") else None for kind in sorted(set(kinds))}


def similar_parts(unread: Mapping[int, int]) -> list[list[int]]:
    """Split slots by their numbers of unread ids, so that a long opening does not pad the short answers beside it."""
    parts: list[list[int]] = []
    shortest = 0
    for slot in sorted(unread, key=unread.__getitem__):
        count = unread[slot]
        if parts and count <= MAX_STRETCH * shortest + SLACK and (len(parts[-1]) + 1) * count <= MAX_PASS_TOKENS:
            parts[-1].append(slot)
        else:
            parts.append([slot])
            shortest = count
    return parts


@contextmanager
def head_reads(network: Any, where: Any) -> Iterator[None]:
    """Let the output head read some positions alone, in order, since logits of all would be most of a pass.

    Args:
        network: The decoder.
        where: An index into hidden states `[B, T, H]` that leaves `[N, H]`; logits are then `[N, V]`.
    """
    head = network.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, arguments: (arguments[0][where], *arguments[1:]))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def recomputing(network: Any) -> Iterator[None]:
    """Keep of the forward passes in here the inputs of layers alone, whose inside a backward pass computes again.

    The library does so in training mode; dropout, which is on in that, is taken out of the network for good.
    """
    if not any(getattr(module, "gradient_checkpointing", False) for module in network.modules()):  # the first time
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            for name in ("attention_dropout", "dropout", "attn_pdrop"):  # of attention that drops inside its kernel
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
        # Earlier versions of the library know it by the second name alone.
        enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    network.train()
    try:
        yield
    finally:
        network.eval()


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Turn dropout off, and back on afterwards if it was on."""
    was_training = network.training
    if was_training:
        network.eval()
    try:
        yield
    finally:
        if was_training:
            network.train()
