"""Nested Python state with tensors in it, as JSON and safetensors: what a pickle would hold, without running any code.

A tree is made of dicts, lists, tuples, strings, numbers, booleans, None and tensors. Its structure becomes JSON, where
plain JSON stays as it is and everything JSON lacks becomes an object with one reserved key; its tensors go by name into
one safetensors file. Reading returns the same tree to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from turngym.agents.models.sharding import is_shard
from turngym.trainers import ranks

_TENSOR, _TUPLE, _ITEMS, _FLOAT = "$tensor", "$tuple", "$items", "$float"
_TAGS = {_TENSOR, _TUPLE, _ITEMS, _FLOAT}


def to_json(tree: Any, tensors: dict[str, Tensor] | None, where: str) -> Any:
    """Return the JSON form of a tree and put its tensors into `tensors`.

    Args:
        tree: The state.
        tensors: Receives each tensor under a number and its place, such as "00007.optimizer.state.0.exp_avg"; None
            refuses tensors.
        where: The name of this place, for tensor names and messages.

    Raises:
        TypeError: The tree holds an object of another type; the message says where.
    """
    if tree is None or isinstance(tree, str | bool) or type(tree) is int:
        return tree
    if type(tree) is float:
        return tree if math.isfinite(tree) else {_FLOAT: repr(tree)}
    if isinstance(tree, Tensor) and tensors is not None:
        name = f"{len(tensors):05d}.{where}"  # places alone may coincide: {"a.b": x} and {"a": {"b": y}}
        tensors[name] = tree
        return {_TENSOR: name}
    if isinstance(tree, list | tuple):
        parts = [to_json(part, tensors, f"{where}.{number}") for number, part in enumerate(tree)]
        return parts if isinstance(tree, list) else {_TUPLE: parts}
    if isinstance(tree, dict):
        values = [to_json(value, tensors, f"{where}.{key}") for key, value in tree.items()]
        if all(type(key) is str for key in tree) and not _TAGS & tree.keys():
            return dict(zip(tree, values, strict=True))
        keys = [to_json(key, tensors, f"{where} (key)") for key in tree]
        return {_ITEMS: [list(pair) for pair in zip(keys, values, strict=True)]}
    raise TypeError(f"{where} is a {type(tree).__name__}, which a checkpoint cannot hold; convert it to plain numbers")


def from_json(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the tree whose JSON form and tensors `to_json` wrote.

    Raises:
        KeyError: A tensor is missing.
    """
    if isinstance(node, list):
        return [from_json(part, tensors) for part in node]
    if not isinstance(node, dict):
        return node
    if _TENSOR in node:
        return tensors[node[_TENSOR]]
    if _TUPLE in node:
        return tuple(from_json(part, tensors) for part in node[_TUPLE])
    if _ITEMS in node:
        return {from_json(key, tensors): from_json(value, tensors) for key, value in node[_ITEMS]}
    if _FLOAT in node:
        return float(node[_FLOAT])
    return {key: from_json(value, tensors) for key, value in node.items()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a safetensors file, together with the other ranks.

    Of those that are shared out every rank writes its part. Those that share memory are written as separate ones.

    Raises:
        OSError: One of the ranks could not write, in all of them.
    """
    if any(map(is_shard, tensors.values())):
        from turngym.agents.models.sharded_files import write_sharded  # not in every build of torch

        write_sharded(path, tensors)
        return

    def write() -> None:
        # A copy of each, because safetensors refuses tensors that are strided or share memory.
        copies = {
            name: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for name, t in tensors.items()
        }
        save_file(copies, path)

    ranks.once(write)


def read_tensors(path: Path, mesh: Any = None) -> dict[str, Tensor]:
    """Read a file of `write_tensors` onto the CPU.

    Args:
        path: The file.
        mesh: The processes among which the tensors are to be shared out, a `DeviceMesh`, of which each then reads its
            part onto its device; None to read all.
    """
    if mesh is not None:
        from turngym.agents.models.sharded_files import read_sharded  # not in every build of torch

        return read_sharded(path, mesh)
    with safe_open(path, framework="pt", device="cpu") as file:
        # Cloned, because matrix products may differ in the last bit on memory that torch did not align itself.
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no dict
