"""How many bytes a number takes, by what it is: held, computed with, or learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from turngym.agents.models.hardware import precisions
from turngym.agents.models.placement import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberBytes:
    """Bytes of a number, by what it is."""

    held: int
    """A weight of the network, and what the residual stream carries."""
    computed: int
    """What matrix products read and return."""
    learned: int
    """A weight that learns, its gradient, and the terms of a loss: at least float32."""

    @property
    def mixed(self) -> bool:
        """Whether autocast casts what matrix products read."""
        return self.computed != self.held

    @property
    def copied(self) -> bool:
        """Whether what an adapter reads is cast first: by peft to the adapter's precision, or by autocast back."""
        return self.mixed or self.held != self.learned

    @classmethod
    def of(cls, placement: Placement, device: str, stored: torch.dtype, *, learns: bool) -> Self:
        """Return those of a placement on a type of device, which need not be here; a card computes in bfloat16.

        Raises:
            InputError: The precisions do not go together.
        """
        wide = stored == torch.float64 and placement.dtype == "auto"
        if device == "cuda" and not wide:  # what `precisions` finds by asking the card
            if placement.dtype == "auto" and not learns:
                placement = replace(placement, dtype="bfloat16")
            if placement.compute_dtype == "auto":
                placement = replace(placement, compute_dtype="bfloat16")
        here = torch.device("mps" if device == "mps" else "cpu")
        held, computed = precisions(placement, here, stored, learns=learns)
        return cls(held=held.itemsize, computed=computed.itemsize, learned=max(4, held.itemsize))
