"""A key-value cache whose rows are conversations of different lengths, kept from turn to turn.

Hugging Face's own caches give every row the same length, so a batch of conversations needs padding inside the cache and
loses it when a row is replaced. Here the cache is allocated once, each row is written at its own positions, and a
query attends to the columns up to its own position: no holes, no padding, and a new conversation simply starts at
position zero. It plugs into any decoder that takes a `Cache` and a four-dimensional attention mask.

Shapes: S slots, B rows in a call, T tokens in a call, C columns, H key-value heads, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class RaggedCache(Cache):
    """Keys and values of `slots` conversations of up to `columns` tokens each.

    Before every forward pass `place` says which rows the batch belongs to and at which positions its tokens lie; tokens
    of padding are placed at the scratch column, which nothing reads.

    Args:
        num_layers: Layers of the decoder.
        slots: Conversations held at once.
        columns: Most tokens of a conversation.
    """

    def __init__(self, num_layers: int, slots: int, columns: int) -> None:
        self.slots = slots
        self.columns = columns
        self.scratch = columns
        self.rows: Tensor | None = None
        self.positions_BT = torch.zeros(0, 0, dtype=torch.long)
        self.length = 0
        super().__init__(layers=[_RaggedLayer(self) for _ in range(num_layers)])

    def place(self, rows: Tensor | None, positions_BT: Tensor, length: int) -> Tensor:
        """Say where the next forward pass writes and reads.

        Args:
            rows: The slot of each row of the batch, `[B]`; None when the batch is all slots in order.
            positions_BT: The position of every token, `scratch` for padding.
            length: Columns in use after the pass; keys beyond it are not read.

        Returns:
            The mask `[B, 1, T, length]`, true where a token may attend.
        """
        self.rows, self.positions_BT, self.length = rows, positions_BT, length
        columns_C = torch.arange(length, device=positions_BT.device)
        return (columns_C <= positions_BT[:, :, None])[:, None]


class _RaggedLayer(CacheLayerMixin):
    """One layer's keys and values, `[S, C + 1, H, D]`; the last column is scratch."""

    is_sliding = False

    def __init__(self, cache: RaggedCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        _, heads, _, size = key_states.shape
        shape = (self._cache.slots, self._cache.columns + 1, heads, size)
        self.keys = key_states.new_zeros(shape)
        self.values = value_states.new_zeros((*shape[:3], value_states.shape[-1]))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write `[B, H, T, D]` at the announced places; return all keys and values of the rows, `[B, H, length, D]`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        rows, positions_BT, length = self._cache.rows, self._cache.positions_BT, self._cache.length
        where = torch.arange(len(positions_BT), device=positions_BT.device) if rows is None else rows
        index = (where[:, None], positions_BT)
        self.keys.index_put_(index, key_states.transpose(1, 2))
        self.values.index_put_(index, value_states.transpose(1, 2))
        keys, values = (self.keys, self.values) if rows is None else (self.keys[rows], self.values[rows])
        return keys[:, :length].transpose(1, 2), values[:, :length].transpose(1, 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.length, 0

    def get_seq_length(self) -> int:
        return self._cache.length

    def get_max_length(self) -> int:
        return self._cache.columns
