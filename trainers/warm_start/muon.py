"""Muon in the precision of the weights, with all matrices of one shape at once.

`torch.optim.Muon` orthogonalises in bfloat16, one matrix after the other. Processors without instructions for bfloat16
take several times as long for that as in float32, which for a small model is more than its gradients cost.

Reference: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from turngym.agents.models.sharding import part_of, whole


class Muon(torch.optim.Muon):
    """As `torch.optim.Muon`, with its state and its arguments but for `adjust_lr_fn`, in the precision of the weights.

    Its learning rate is scaled by the square root of a matrix's outputs by its inputs, if that is above 1.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step; there is no closure."""
        assert closure is None
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    shapes.setdefault(weight.shape, []).append(weight)
            for weights in shapes.values():
                self._update(weights, group)

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Update matrices of one shape."""
        directions = []
        for weight in weights:
            assert weight.grad is not None
            state = self.state[weight]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(weight.grad)
            average = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
            directions.append(weight.grad.lerp(average, group["momentum"]) if group["nesterov"] else average)
        outputs, inputs = weights[0].shape
        rate = group["lr"] * max(1.0, outputs / inputs) ** 0.5
        stacked_NOI = torch.stack([*map(whole, directions)])
        update_NOI = orthogonalised(stacked_NOI, group["ns_coefficients"], group["ns_steps"], group["eps"])
        for weight, update_OI in zip(weights, update_NOI, strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(part_of(update_OI, weight), alpha=-rate)


def orthogonalised(matrices_NOI: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Return matrices whose singular values are brought near 1 by a quintic Newton-Schulz iteration.

    Args:
        matrices_NOI: N matrices of one shape.
        coefficients: Of the first, third and fifth power of the singular values.
        steps: Iterations.
        eps: Least norm that is divided by.
    """
    first, third, fifth = coefficients
    tall = matrices_NOI.shape[1] > matrices_NOI.shape[2]
    x_NAB: Tensor = matrices_NOI.mT if tall else matrices_NOI
    x_NAB = x_NAB / x_NAB.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram_NAA = x_NAB @ x_NAB.mT
        x_NAB = first * x_NAB + (third * gram_NAA + fifth * gram_NAA @ gram_NAA) @ x_NAB
    result_NOI: Tensor = x_NAB.mT if tall else x_NAB
    return result_NOI
