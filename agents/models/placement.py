"""Where a model lies, its precisions and the shape of its adapter, as a user names them; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]
"""A precision of weights or of matrix products. float16 is none of them: small gradients are 0 in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a model lies, and its precisions.

    With "auto", weights that learn are held in float32, or in float64 where they are stored in it; the frozen weights
    under an adapter too, but on a CUDA device that computes in bfloat16, where they are held in that. Matrix products
    are in the precision of the weights, on such a device in bfloat16.
    """

    device: str = "cpu"
    """A device of torch, such as "cpu", "cuda" or "cuda:1"; "auto" for cuda, mps or cpu, the first that there is."""
    dtype: Precision = "auto"
    """In which precision the weights are held."""
    compute_dtype: Precision = "auto"
    """In which precision matrix products are computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """The shape of an adapter."""

    rank: int
    """Rank of the two matrices beside each target, at least 1."""
    alpha: float
    """What their product is multiplied by, times the rank."""
    targets: tuple[str, ...] = ()
    """How the names of the adapted layers end, such as "q_proj"; none for all linear layers but the output head."""
