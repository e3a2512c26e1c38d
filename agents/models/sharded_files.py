"""Safetensors files that several processes write and read together, each its part, so that none holds all of it.

`torch.distributed.checkpoint` plans who writes what, and tells all processes of an error in one of them. Its own
formats are not used: one has its index as a pickle, and the other writes all tensors twice, first into a file for each
process. Here every process writes into the one file, at the places of its rows. The file is what one process alone
would write, so any number of processes goes on with it, and so does any program that reads safetensors.

Reading needs no plan: every process reads the rows of its part, in the precision in which they are stored. (`load` of
`torch.distributed.checkpoint` converts precisions and says nothing of it.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.futures import Future

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""What safetensors calls the precisions."""
ALIGNMENT = 8
"""The tensors begin at a multiple of so many bytes."""


def write_sharded(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors into one safetensors file; all processes call this.

    Of a tensor that is shared out every process writes its part, of others one process writes all.

    Args:
        path: The file, which all processes see; what stands there is replaced.
        tensors: The same names in all processes.
        metadata: Text for the header of the file.

    Raises:
        OSError: One of the processes could not write, in all of them.
        TypeError: A tensor has a precision that such a file cannot hold.
    """
    writer, planner = _OneFile(path, metadata or {}), DefaultSavePlanner(flatten_state_dict=False)
    try:
        save({name: _rows(tensor.detach()) for name, tensor in tensors.items()}, storage_writer=writer, planner=planner)
    except CheckpointException as error:  # which is no `Exception`, so that nobody would catch it
        raise next(iter(error.failures.values()))[0] from None


def read_sharded(path: Path, mesh: DeviceMesh) -> dict[str, Tensor]:
    """Read the parts of the tensors in a safetensors file that this process is to hold, its rows of each.

    Args:
        path: The file, of whatever program.
        mesh: The processes among which the tensors are shared out. Tensors without a dimension are read as they are,
            onto the processor.
    """
    tensors: dict[str, Tensor] = {}
    with safe_open(path, framework="pt", device="cpu") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dict
            stored = file.get_slice(name)
            shape = torch.Size(stored.get_shape())
            if not shape:
                tensors[name] = file.get_tensor(name).clone()
                continue
            (rows, *_), (first, *_) = compute_local_shape_and_global_offset(shape, mesh, [Shard(0)])
            part = stored[first : first + rows].clone().to(mesh.device_type)
            strides = torch.empty(shape, device="meta").stride()
            tensors[name] = DTensor.from_local(part, mesh, [Shard(0)], shape=shape, stride=strides, run_check=False)
    return tensors


def _rows(tensor: Tensor) -> Tensor:
    """Return a tensor of which every process holds whole rows, or all."""
    if not isinstance(tensor, DTensor) or tensor.placements in ((Shard(0),), (Replicate(),)):
        return tensor
    return tensor.redistribute(placements=[Shard(0)])


class _OneFile(StorageWriter):
    """What `torch.distributed.checkpoint.save` calls to write a file.

    Args:
        path: The file.
        metadata: Text for its header.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        self._path, self._metadata = path, dict(metadata)

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Begin; there is nothing to do."""

    def set_up_storage_writer(self, is_coordinator: bool, *_: Any, **__: Any) -> None:
        """Begin; there is nothing to do."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Return the plan of a process as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Begin the file in the first process, and tell all of them where each tensor begins."""
        kept = {item.index.fqn: item.tensor_data for plan in plans for item in plan.items}
        sizes = {name: (about.properties.dtype, about.size) for name, about in kept.items() if about is not None}
        header: dict[str, Any] = {"__metadata__": self._metadata} if self._metadata else {}
        places: dict[str, int] = {}
        end = 0
        for name, (dtype, shape) in sorted(sizes.items(), key=lambda item: (-item[1][0].itemsize, item[0])):
            if dtype not in DTYPES:
                raise TypeError(f"{name} has the type {dtype}, which a safetensors file cannot hold")
            places[name], end = end, end + shape.numel() * dtype.itemsize
            header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [places[name], end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        with self._path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + end)
        begin = {name: 8 + len(text) + place for name, place in places.items()}
        return [replace(plan, storage_data=begin) for plan in plans]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write the parts of this process, one at a time, and make them survive a loss of power."""
        results = []
        with self._path.open("r+b") as file:
            for item in plan.items:
                part = planner.resolve_data(item)
                assert isinstance(part, Tensor)
                content = part.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data
                file.seek(plan.storage_data[item.index.fqn] + _offset(item))
                file.write(content)
                results.append(WriteResult(index=item.index, size_in_bytes=len(content), storage_data=None))
            file.flush()
            os.fsync(file.fileno())
        future: Future[list[WriteResult]] = Future()
        future.set_result(results)
        return future

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """End; the header is written already."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:  # noqa: ARG003
        """Take any name of a checkpoint, of which there are none."""
        return True


def _offset(item: WriteItem) -> int:
    """Return how many bytes of a tensor come before a part of whole rows."""
    assert item.tensor_data is not None
    offsets = item.tensor_data.chunk.offsets
    row = item.tensor_data.size[1:].numel() * item.tensor_data.properties.dtype.itemsize
    return offsets[0] * row if offsets else 0
