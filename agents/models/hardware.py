"""Devices of torch, and the precisions in which models are held and compute there."""

from __future__ import annotations

import re
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from turngym._errors import InputError
from turngym.agents.models.placement import Placement, Precision, precision_names


def find_device(name: str) -> torch.device:
    """Return the device that a name means, if this machine has it.

    Args:
        name: "auto" for cuda, mps or cpu, the first that there is; or a device of torch, such as "cuda:1".

    Raises:
        InputError: There is no such device here, or the name is none.
    """
    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")  # which is none that computes
    if device.type == "cuda":
        _check_cuda(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("there is no mps device here: take cpu, or auto for the best that there is")
    elif device.type not in ("cpu", "mps"):
        raise InputError(f"there is no device {name!r}; choose auto, cpu, cuda, cuda:N or mps")
    return device


def _check_cuda(device: torch.device) -> None:
    """Check that torch sees a CUDA device.

    Raises:
        InputError: It does not; the message says whether torch or the machine lacks it.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count and not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        raise InputError(f"torch {torch.__version__} is built without CUDA: install a build for the card, as the "
                         "README says, or take cpu")  # fmt: skip
    if not count:
        raise InputError("torch sees no CUDA device: `nvidia-smi` tells whether the driver does; or take cpu")
    if (device.index or 0) >= count:
        raise InputError(f"there is no {device}: the last CUDA device here is cuda:{count - 1}")


def precisions(
    placement: Placement, device: torch.device, stored: torch.dtype, *, learns: bool
) -> tuple[torch.dtype, torch.dtype]:
    """Return in which precision weights are held, and in which matrix products are computed.

    Args:
        placement: What was asked for.
        device: Where the model lies.
        stored: In which precision the weights are stored.
        learns: Whether they may learn; frozen ones have an adapter that does.

    Raises:
        InputError: Weights below float32 were to learn, or float64 was to lie on a device without it.
    """
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    names = precision_names(placement, device.type, str(stored).removeprefix("torch."), learns=learns, fast=fast)
    held, computes = (getattr(torch, name) for name in names)
    return held, computes


def precision_name(dtype: torch.dtype | str) -> Precision:
    """Return how a placement calls a precision; "auto" for float64, which a model has if it is stored in it."""
    names: dict[str, Precision] = {"float32": "float32", "bfloat16": "bfloat16"}
    return names.get(str(dtype).removeprefix("torch."), "auto")


def on_device(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """Return numbers on a device, copied without waiting for what it still computes.

    Memory that may be paged is first copied elsewhere by the driver of CUDA, so the array may change right away; mps
    would read it later.

    Args:
        numbers: An array of any shape.
        device: Where they go.
    """
    return torch.from_numpy(numbers).to(device, non_blocking=device.type != "mps")


def fused_on(device: torch.device) -> bool | None:
    """Return what optimizers of torch are given as `fused` on a device: True on CUDA, where one kernel takes a step."""
    return device.type == "cuda" or None


def attention_kernel(device: torch.device, dtype: torch.dtype, *, masked: bool) -> str:
    """Return by which kernel torch computes attention on a device, such as "flash", found by trying.

    Args:
        device: Where.
        dtype: In which precision.
        masked: With a mask of its own for every row, as in play; else causally, as in learning.
    """
    states = torch.zeros(1, 2, 16, 16, device=device, dtype=dtype)
    mask = torch.zeros(1, 1, 16, 16, device=device, dtype=dtype) if masked else None
    with _Operations() as operations:
        torch.nn.functional.scaled_dot_product_attention(states, states, states, attn_mask=mask, is_causal=not masked)
    found = re.findall(r"_scaled_dot_product_(?:fused_)?(?:attention_)?([a-z]+)", " ".join(operations.names))
    return found[0] if found else "math"


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which operations torch carries out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))
