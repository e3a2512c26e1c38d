"""A short name for a set of weights: equal exactly when every bit of every tensor is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from turngym.agents.models.sharding import whole


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict as 64 hexadecimal digits.

    Names, shapes, data types and values all count; the order of the entries, the device and strides do not, nor
    whether the tensors are shared out among processes, all of which then take part.

    Args:
        tensors: A state dict, such as `model.state_dict()`.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = whole(tensors[name].detach()).cpu().contiguous()
        # Each header ends in a newline and states the length of what follows, so no two state dicts run together.
        digest.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)} {tensor.nbytes}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
