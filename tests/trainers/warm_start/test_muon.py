"""Muon: the same steps as those of torch's, but for the precision."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from turngym.trainers.warm_start.muon import Muon, orthogonalised

RATE = 0.02
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def weights_of(*shapes: tuple[int, int], seed: int = 0) -> list[torch.nn.Parameter]:
    """Return weights with gradients."""
    chance = torch.Generator().manual_seed(seed)
    weights = [torch.nn.Parameter(torch.randn(shape, generator=chance)) for shape in shapes]
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=chance)
    return weights


def test_it_takes_the_steps_of_torch() -> None:
    """Which computes in bfloat16, so that they agree to some hundredths of a step."""
    shapes = [(8, 24), (24, 8), (8, 24), (16, 16)]
    mine, theirs = weights_of(*shapes), weights_of(*shapes)
    optimizers = Muon(mine, lr=RATE, weight_decay=0.1), torch.optim.Muon(theirs, lr=RATE, weight_decay=0.1)
    for seed in range(5):
        for weights in (mine, theirs):
            for weight, other in zip(weights, weights_of(*shapes, seed=seed), strict=True):
                weight.grad = other.grad
        for optimizer in optimizers:
            optimizer.step()
    for one, another in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, another, rtol=0, atol=0.05 * 5 * RATE)


def test_a_matrix_takes_the_same_step_in_any_company() -> None:
    together, alone = weights_of((4, 6), (4, 6), (4, 6)), weights_of((4, 6), (4, 6), (4, 6))
    Muon(together, lr=RATE).step()
    Muon(alone[1:2], lr=RATE).step()
    torch.testing.assert_close(together[1], alone[1])


def test_weights_without_a_gradient_stay() -> None:
    weights = weights_of((4, 6), (4, 6))
    before = copy.deepcopy(weights)
    weights[1].grad = None
    Muon(weights, lr=RATE).step()
    assert not torch.equal(weights[0], before[0]) and torch.equal(weights[1], before[1])


def test_its_state_goes_on() -> None:
    (first,), (second,) = weights_of((4, 6)), weights_of((4, 6))
    optimizers = Muon([first], lr=RATE), Muon([second], lr=RATE)
    optimizers[0].step()
    with torch.no_grad():
        second.copy_(first)
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for optimizer in optimizers:
        optimizer.step()
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_singular_values_come_near_to_one(count: int, rows: int, columns: int, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    matrices = torch.randn(count, rows, columns, generator=chance, dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linalg.svdvals(orthogonalised(3.0 * left @ right, COEFFICIENTS, 5, 1e-7))
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_no_gradient_is_no_step() -> None:
    assert torch.equal(orthogonalised(torch.zeros(2, 3, 4), COEFFICIENTS, 5, 1e-7), torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="2D"):
        Muon([torch.nn.Parameter(torch.zeros(3))])
