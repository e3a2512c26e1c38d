"""A key-value cache whose rows are conversations of different lengths, kept from turn to turn.

Hugging Face's own caches give every row the same length, so a batch of conversations needs padding inside the cache and
loses it when a row is replaced. Here each row is written at its own positions, and a query attends to the columns up to
its own position: no holes, no padding, and a new conversation simply starts at position zero. It plugs into any decoder
that takes a `Cache` and a four-dimensional attention mask. Layers with a sliding window keep all keys too, and have a
mask that hides the older ones.

Shapes: S slots, B rows in a call, T tokens in a call, C columns, H key-value heads, D head size.
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from turngym.agents.models.limits import ALIGNMENT

PADDING = -1
"""The position of a token of padding: as an index it names the last column, which nothing reads."""
FIRST_COLUMNS = 128


class RaggedCache(Cache):
    """Keys and values of `slots` conversations of up to `columns` tokens each.

    Before every forward pass `place` says which rows the batch belongs to and at which positions its tokens lie. Memory
    is taken for as many columns as the longest conversation so far has needed, doubled each time they are too few.

    Args:
        num_layers: Layers of the decoder.
        slots: Conversations held at once.
        columns: Most tokens of a conversation.
    """

    def __init__(self, num_layers: int, slots: int, columns: int) -> None:
        self.slots = slots
        self.columns = columns
        self.allocated = 0
        self.length = 0
        self.before = 0
        """What the library takes for the length before a pass: it computes a mask from that, if it is given none."""
        self.read: Tensor | slice = slice(0)
        self.written: tuple[Tensor, Tensor] = (torch.empty(0, 1), torch.empty(0, 0))
        super().__init__(layers=[_RaggedLayer(self) for _ in range(num_layers)])

    def place(self, rows: Tensor | None, positions_BT: Tensor, length: int) -> Tensor:
        """Say where the next forward pass writes and reads.

        Args:
            rows: The slot of each row of the batch, `[B]`; None when they are the first B slots in order.
            positions_BT: The position of every token, `PADDING` for padding.
            length: Columns in use after the pass, at most `columns`; keys beyond it are not read.

        Returns:
            The mask `[B, 1, T, length]`, true where a token may attend. Padding sees everything: a row of a softmax
            must not be empty.
        """
        self._place(rows, positions_BT, length)
        self.before = length
        columns_C = torch.arange(length, device=positions_BT.device)
        last_seen_BT = torch.where(positions_BT == PADDING, length, positions_BT)
        return (columns_C <= last_seen_BT[:, :, None])[:, None]

    def begin(self, rows: Tensor | None, positions_BT: Tensor, length: int) -> None:
        """Say where conversations are written that all begin; each token is to attend to those before it, by no mask.

        Args:
            rows: As of `place`.
            positions_BT: The position of every token, its column in the call; or `PADDING`, behind those of its row.
            length: As of `place`: the number of columns in the call.
        """
        assert positions_BT.shape[1] == length
        self._place(rows, positions_BT, length)
        self.before = 0

    def _place(self, rows: Tensor | None, positions_BT: Tensor, length: int) -> None:
        assert length <= self.columns
        self.length = length
        self.read = slice(len(positions_BT)) if rows is None else rows
        rows_B = torch.arange(len(positions_BT), device=positions_BT.device) if rows is None else rows
        self.written = (rows_B[:, None], positions_BT)
        if length > self.allocated:
            self.allocated = min(self.columns, max(length, 2 * self.allocated, FIRST_COLUMNS))

    def recent(self, positions_BT: Tensor, window: int) -> Tensor:
        """Return what lies within a sliding window, `[B, 1, T, length]`, to be joined with what `place` has returned.

        Args:
            positions_BT: The position of every token, `PADDING` for padding, whose window is without end.
            window: How many tokens each one sees, itself included.
        """
        columns_C = torch.arange(self.length, device=positions_BT.device)
        first_BT = torch.where(positions_BT == PADDING, 0, positions_BT - window + 1)
        return (columns_C >= first_BT[:, :, None])[:, None]


class _RaggedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values, `[S, H, more than C, D]`; the last column is for padding."""

    is_sliding = False

    def __init__(self, cache: RaggedCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Weakly, or the two would keep each other, and their memory, beyond their use.
        self._cache: RaggedCache = weakref.proxy(cache)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = self._larger(key_states[:0, :, :0])
        self.values = self._larger(value_states[:0, :, :0])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write `[B, H, T, D]` at the announced places; return all keys and values of the rows, `[B, H, length, D]`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        if self.keys.shape[2] <= self._cache.allocated:
            self.keys, self.values = self._larger(self.keys), self._larger(self.values)
        return self._write_and_read(self.keys, key_states), self._write_and_read(self.values, value_states)

    def _larger(self, old: Tensor) -> Tensor:
        """Copy into as many columns as the cache needs now."""
        slots, heads, columns, size = old.shape
        enough = (self._cache.allocated // ALIGNMENT + 1) * ALIGNMENT
        new = old.new_zeros(self._cache.slots, heads, enough, size)
        new[:slots, :, :columns] = old
        return new

    def _write_and_read(self, kept: Tensor, states: Tensor) -> Tensor:
        kept.transpose(1, 2).index_put_(self._cache.written, states.transpose(1, 2))
        return kept[:, :, : self._cache.length][self._cache.read]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.length, 0

    def get_seq_length(self) -> int:
        return self._cache.before

    def get_max_length(self) -> int:
        return self._cache.columns
