"""States that are taken over, as they are or not at all; and shares that are put together in the precision of play."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from turngym.agents.models.errors import CheckpointError
from turngym.agents.models.sharding import load_state, mesh_of


def learned() -> tuple[nn.Module, torch.optim.Optimizer]:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return network, optimizer


def changed(state: Any, place: list[Any], tensor: torch.Tensor) -> Any:
    state = copy.deepcopy(state)
    inner = state
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = tensor
    return state


def test_a_state_is_taken_over() -> None:
    network, optimizer = learned()
    other, others = learned()
    load_state(other, network.state_dict())
    load_state(others, optimizer.state_dict())
    assert torch.equal(other.state_dict()["weight"], network.state_dict()["weight"])
    assert all(torch.equal(others.state_dict()["state"][i][name], value)
               for i, entry in optimizer.state_dict()["state"].items() for name, value in entry.items())  # fmt: skip
    assert mesh_of(network) is None


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_other_precisions_are_refused(kind: torch.dtype) -> None:
    network, optimizer = learned()
    average = optimizer.state_dict()["state"][0]["exp_avg"]
    state = changed(optimizer.state_dict(), ["state", 0, "exp_avg"], average.to(kind))
    with pytest.raises(CheckpointError, match=rf"exp_avg of weight 0 in the precision {kind}, and torch.float32 learn"):
        load_state(optimizer, state)
    assert optimizer.state_dict()["state"][0]["exp_avg"].dtype == torch.float32
    weights = changed(network.state_dict(), ["bias"], network.state_dict()["bias"].to(kind))
    with pytest.raises(CheckpointError, match="bias in the precision"):
        load_state(network, weights)


def test_other_shapes_are_refused() -> None:
    _, optimizer = learned()
    state = changed(optimizer.state_dict(), ["state", 0, "exp_avg"], torch.zeros(2, 4))
    with pytest.raises(CheckpointError, match=r"in the shape \(2, 4\), and \(2, 3\) learns"):
        load_state(optimizer, state)


STYLES = ("qwen2", "mixtral", "gpt2")


@pytest.fixture(scope="module")
def mixed() -> dict[str, dict[str, Any]]:
    """What two processes see of models in float32 that compute in bfloat16."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
         "tests.agents.models.mixed_together", *STYLES],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, timeout=600, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(next(line for line in done.stdout.splitlines() if line[:1] == "{"))
    return found


@pytest.mark.timeout(700)
@pytest.mark.parametrize("style", STYLES)
def test_layers_travel_in_the_precision_in_which_they_compute(mixed: dict[str, dict[str, Any]], style: str) -> None:
    seen = mixed[style]
    # Experts and `LayerNorm` read their weights as they are, so there nothing is rounded.
    exact = style != "qwen2"
    assert seen["travelled"] == ["torch.float32" if exact else "torch.bfloat16"]
    assert seen["held"] == seen["added"] == ["torch.float32"], "what learns is never rounded"
    assert seen["gathered"] == seen["estimated"]
    assert seen["logp"] == 0.0 if exact else 0.0 < seen["logp"] < 0.01, "norms are rounded, products are the same"
    assert seen["gradients"] < (1e-6 if exact else 0.02)
    assert seen["played"] == seen["copied"] == 0.0, "play, learning and copies compute alike"
