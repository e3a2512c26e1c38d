"""How many bytes a number takes, by what it is: held, computed with, or learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from turngym.agents.models.placement import Placement, precision_names

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}
"""Bytes of a number in each precision that a model is held or computes in."""


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
    def of(cls, placement: Placement, device: str, stored: str, *, learns: bool) -> Self:
        """Return those of a placement on a type of device, which need not be here; a card computes in bfloat16.

        Raises:
            InputError: The precisions do not go together.
        """
        wide = stored == "float64" and placement.dtype == "auto"
        if device == "cuda" and not wide:  # what `precisions` finds by asking the card
            if placement.dtype == "auto" and not learns:
                placement = replace(placement, dtype="bfloat16")
            if placement.compute_dtype == "auto":
                placement = replace(placement, compute_dtype="bfloat16")
        held, computed = (BYTES[name] for name in precision_names(placement, device, stored, learns=learns, fast=False))
        return cls(held=held, computed=computed, learned=max(4, held))
