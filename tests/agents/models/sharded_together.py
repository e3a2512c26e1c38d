"""Run by torchrun: all processes write tensors and models into a folder and read them, see `test_sharded_files`."""

from __future__ import annotations

import errno
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tests.agents.models.test_sharded_files import expected, model
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor

from turngym.agents.models.sharded_files import read_sharded, write_sharded
from turngym.agents.models.sharding import mesh_of, shard
from turngym.trainers import ranks
from turngym.trainers.checkpoints.models import save_model
from turngym.trainers.torchrun import is_first


def attempt(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    """Return what writing raises."""
    try:
        write_sharded(path, tensors)
    except Exception as error:  # noqa: BLE001 - it is told
        return f"{type(error).__name__}: {error}"
    return ""


def equal(tensors: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    """Return whether this process holds the same of tensors, in the same precisions."""
    pairs = [[local(each[name]) for each in (tensors, others)] for name in others]
    return tensors.keys() == others.keys() and all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


def local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def run(folder: Path) -> dict[str, Any]:
    """Return what the processes have seen."""
    mesh = init_device_mesh("cpu", (ranks.size(),))
    placements: dict[str, Placement] = {"columns": Shard(1), "copies": Replicate()}
    tensors = {
        name: tensor
        if name in ("plain", "number")
        else distribute_tensor(tensor, mesh, [placements.get(name, Shard(0))], src_data_rank=None)
        for name, tensor in expected().items()
    }
    write_sharded(folder / "tensors.safetensors", tensors, {"format": "pt"})
    read = read_sharded(folder / "tensors.safetensors", mesh)
    parts = {name: tuple(tensor.to_local().shape) for name, tensor in read.items() if isinstance(tensor, DTensor)}
    rows = {name: distribute_tensor(tensor, mesh, [Shard(0)], src_data_rank=None) if tensor.ndim else tensor
            for name, tensor in expected().items()}  # fmt: skip
    by_torch = {name: torch.zeros_like(tensor) for name, tensor in rows.items()}
    load(by_torch, storage_reader=HuggingFaceStorageReader(str(folder)))
    complex_ = attempt(folder / "complex", {"c": torch.zeros(2, dtype=torch.complex64), "t": tensors["rows"]})
    with mock.patch("os.fsync", full) if ranks.rank() == 1 else nullcontext():
        disk = attempt(folder / "full", tensors)
    nested = ""
    try:
        ranks.once(lambda: ranks.once(lambda: None))
    except RuntimeError as error:
        nested = str(error)
    for style in ("qwen2", "mixtral"):
        player = model(style)
        shard(player.model)
        assert mesh_of(player.model) is not None
        save_model(player, folder / style)
    return {"parts": parts, "same": equal(read, rows), "by_torch": equal(by_torch, rows),
            "complex": complex_, "disk": disk, "nested": nested}  # fmt: skip


def in_all(folder: Path) -> list[dict[str, Any]]:
    """Return what each process has seen."""
    seen = run(folder)
    return ranks.exchange(lambda: seen)


with ranks.joined():
    if is_first():
        with ranks.leading(Path(sys.argv[1])):
            print(json.dumps(in_all(Path(sys.argv[1]))))
    else:
        ranks.following(in_all)
