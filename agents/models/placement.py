"""Where a model lies, its precisions and the shape of its adapter, as a user names them; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from turngym._errors import InputError

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


def precision_names(placement: Placement, device: str, stored: str, *, learns: bool, fast: bool) -> tuple[str, str]:
    """Return in which precision weights are held, and in which matrix products are computed: "float32" or others.

    Args:
        placement: What was asked for.
        device: The type of the device that the model lies on, such as "cuda".
        stored: In which precision the weights are stored.
        learns: Whether they may learn; frozen ones have an adapter that does.
        fast: Whether it is a card that computes in bfloat16.

    Raises:
        InputError: Weights below float32 were to learn, or float64 was to lie on a device without it.
    """
    if placement.dtype == "auto":
        held = "float64" if stored == "float64" else "float32"
        if fast and not learns and held != "float64":
            held = "bfloat16"
    else:
        held = placement.dtype
    if held == "bfloat16" and learns:
        raise InputError("model.dtype bfloat16 is for frozen weights: in it most steps at the usual rates are lost in "
                         "rounding. Set lora.rank, whose adapter learns in float32, or model.compute_dtype to "
                         "bfloat16")  # fmt: skip
    if held == "float64" and device == "mps":
        raise InputError("an mps device has no float64: set model.dtype to float32, or run.device to cpu")
    if placement.compute_dtype == "auto":
        return held, "bfloat16" if fast and held == "float32" else held
    if placement.compute_dtype == "float32" and held == "bfloat16":
        raise InputError("model.compute_dtype float32 needs weights that are held in it: set model.dtype to float32")
    return held, held if held == "float64" else placement.compute_dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """The shape of an adapter."""

    rank: int
    """Rank of the two matrices beside each target, at least 1."""
    alpha: float
    """What their product is multiplied by, times the rank."""
    targets: tuple[str, ...] = ()
    """How the names of the adapted layers end, such as "q_proj"; none for all linear layers but the output head."""
