"""Run by torchrun: two processes save checkpoints; one cannot write the second, and is killed in the third."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from turngym.trainers import ranks
from turngym.trainers.checkpoints.checkpoint import save_checkpoint
from turngym.trainers.checkpoints.tensor_tree import write_tensors
from turngym.trainers.torchrun import is_first


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def save(folder: Path, step: int) -> None:
    mesh = init_device_mesh("cpu", (ranks.size(),))
    weights = distribute_tensor(torch.full((5, 2), float(step)), mesh, [Shard(0)])

    def save_policy(path: Path) -> None:
        ranks.once(path.mkdir)
        write_tensors(path / "weights.safetensors", {"w": weights})

    save_checkpoint(folder, step, save_policy=save_policy, optimizer_state={"m": weights, "lr": 0.1}, extra={})


def run(folder: Path) -> None:
    """Save three times."""
    ill: dict[int, Any] = {2: full, 3: killed}
    for step in (1, 2, 3):
        there = ranks.rank() == 1 and step in ill
        with mock.patch("os.fsync", ill.get(step)) if there else nullcontext():
            told = ""
            try:
                save(folder, step)
            except OSError as error:
                told = str(error)
        seen = ranks.exchange(lambda told=told: told)  # type: ignore[misc]
        if is_first():
            names = sorted(path.name for path in folder.iterdir())
            print(json.dumps({"step": step, "told": seen, "names": names}), flush=True)


with ranks.joined():
    if is_first():
        with ranks.leading(Path(sys.argv[1])):
            run(Path(sys.argv[1]))
    else:
        ranks.following(run)
