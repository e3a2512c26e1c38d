"""Weights shared out among processes: each holds a part of every tensor, and a layer is whole while it computes.

A network that `shard` was called with is used as before, with two differences. A forward or backward pass is taken by
all processes together, each with a batch of its own, unless the weights are `gathered`; gradients are added up over the
processes. And tensors of its state are `DTensor`s, which `whole` puts together and `part_of` takes apart.

Reference: Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", arXiv:2304.11277, in its
second version (`torch.distributed.fsdp.fully_shard`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from turngym.agents.models.errors import CheckpointError


def shard(network: Any, compute_dtype: torch.dtype | None = None) -> None:
    """Share out the weights of a decoder among all processes of `torch.distributed`; every process calls this.

    Each layer is gathered by itself, and so is what is not in one. Parts keep their precision, and gradients are added
    up in it.

    Args:
        network: The same weights in every process.
        compute_dtype: In which precision autocast computes matrix products, in which layers are gathered too; see
            `gathered_dtype`. None for that of the weights.
    """
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard  # not in every build of torch

    for layer in layers_of(network):
        dtype = gathered_dtype(layer, compute_dtype)
        # The stream between layers stays as it is, and autocast casts what products read of it, as in one process.
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=network.dtype, cast_forward_inputs=False)
        fully_shard(layer, reshard_after_forward=True, mp_policy=policy if dtype else MixedPrecisionPolicy())
    fully_shard(network, reshard_after_forward=True)  # at once, so that no gathered copy outlives a change
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # a sum, since losses are divided by what all processes have
            module.set_force_sum_reduction_for_comms(True)  # without it gloo refuses the factor
    with gathered(network):  # the buffers of the first time must not be made in inference mode
        pass


def layers_of(network: Any) -> list[torch.nn.Module]:
    """Return the layers of a decoder, each of which is gathered by itself."""
    names = set(network._no_split_modules or ())  # noqa: SLF001 - the library's only name for them
    return [module for module in network.modules() if type(module).__name__ in names]


def gathered_dtype(layer: torch.nn.Module, compute_dtype: torch.dtype | None) -> torch.dtype | None:
    """Return in which precision the weights of a layer travel and are held whole; None for their own.

    It is that of matrix products, for which autocast would cast them in every process, and keep them: these products
    are the same to the bit, and weights of norms are rounded. Not so where other operations than matrix products read
    weights as they are: experts, and `torch.nn.LayerNorm`, which on a processor wants them in float32.
    """
    experts = any(parameter.ndim > 2 for parameter in layer.parameters())
    norms = any(isinstance(module, torch.nn.LayerNorm) for module in layer.modules())
    return None if experts or norms else compute_dtype


def is_sharded(network: torch.nn.Module) -> bool:
    """Return whether the weights of a network are shared out."""
    return any(is_shard(parameter) for parameter in network.parameters())


@contextmanager
def gathered(network: Any) -> Iterator[None]:
    """Hold all weights in every process while the block runs, which may take as many forward passes as it likes.

    All processes enter and leave it; the weights must not change within. Of a network that is not shared out it does
    nothing.
    """
    from torch.distributed.fsdp import FSDPModule

    parts = [module for module in network.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def sharded_copy(network: Any, compute_dtype: torch.dtype | None = None) -> Any:
    """Return another network of the same shape with the same weights, shared out alike; see `shard`."""
    with torch.random.fork_rng(devices=[]):
        other = type(network)(copy.deepcopy(network.config))
    first = next(network.parameters())
    other = other.to(device=first.device, dtype=first.dtype).train(network.training)
    shard(other, compute_dtype)
    with torch.no_grad():
        for mine, theirs in zip(other.parameters(), network.parameters(), strict=True):
            mine.copy_(theirs)
            mine.requires_grad_(theirs.requires_grad)
    return other


# States ---------------------------------------------------------------------------------------------------------------


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor of which each process holds a part as a whole; all processes ask for it. Others as they are."""
    return tensor.full_tensor() if is_shard(tensor) else tensor  # type: ignore[attr-defined]


def part_of(tensor: Any, like: Any) -> Any:
    """Return the part of a whole tensor that this process holds, where `like` is shared out and has its shape.

    Of a tensor that is shared out all of it is returned where `like` is not, for which all processes ask.
    """
    if is_shard(tensor) and not is_shard(like):
        return whole(tensor)
    if not is_shard(like) or is_shard(tensor) or not isinstance(tensor, Tensor) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def mesh_of(module: torch.nn.Module) -> Any:
    """Return the processes among which the weights of a module are shared out, a `DeviceMesh`; None if they are not."""
    found = (parameter for parameter in module.parameters() if is_shard(parameter))
    return getattr(next(found, None), "device_mesh", None)


def load_state(part: torch.nn.Module | torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state of whole tensors, or of parts, into a module or an optimizer, shared out or not.

    Raises:
        CheckpointError: A tensor has another shape or precision than the weight that it belongs to; torch would convert
            precisions without a word.
    """
    if isinstance(part, torch.optim.Optimizer):
        parameters = [parameter for group in part.param_groups for parameter in group["params"]]
        entries = {number: {name: _fitting(f"{name} of weight {number}", value, parameters[number])
                            for name, value in entry.items()} for number, entry in state["state"].items()}  # fmt: skip
        part.load_state_dict({**state, "state": entries})
    else:
        own = part.state_dict()
        part.load_state_dict({name: _fitting(name, value, own.get(name)) for name, value in state.items()})


def _fitting(name: str, value: Any, like: Any) -> Any:
    """Return what a process holds of a value of a state; numbers, such as a count of steps, pass."""
    if isinstance(value, Tensor) and isinstance(like, Tensor) and value.ndim:
        for what, found, expected in (("shape", tuple(value.shape), tuple(like.shape)),
                                      ("precision", value.dtype, like.dtype)):  # fmt: skip
            if found != expected:
                raise CheckpointError(f"the checkpoint holds {name} in the {what} {found}, and {expected} learns: go "
                                      "on with the model and the settings that it was written with")  # fmt: skip
    return part_of(value, like)


# Gradients ------------------------------------------------------------------------------------------------------------


def clip_gradients(parameters: Sequence[torch.nn.Parameter], largest: float) -> float:
    """Scale gradients down to a norm of at most `largest`, and return the norm that they had, over all processes."""
    kinds = [[parameter for parameter in parameters if is_shard(parameter) == sharded] for sharded in (False, True)]
    plain, shards = kinds
    if not shards:
        return float(torch.nn.utils.clip_grad_norm_(plain, largest))
    norms = [whole(torch.nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds]
    total = math.hypot(*map(float, norms))
    for kind in kinds:
        torch.nn.utils.clip_grads_with_norm_(kind, largest, torch.tensor(total, device=shards[0].device))
    return total


def is_shard(tensor: object) -> bool:
    """Return whether a tensor is one of which each process holds a part."""
    return hasattr(tensor, "full_tensor")
