"""The losses of A*PO on a batch small enough for pencil and paper."""

from __future__ import annotations

import pytest
import torch

from turngym.trainers.objectives import Samples, astarpo, astarpo_turn
from turngym.trainers.objectives.registry import Loss

BETA = 0.5


def two_episodes(**changes: torch.Tensor) -> Samples:
    """Episode 0: one turn of two tokens, l = 1 + 2, R = 1. Episode 1: turns with l = 4 and -2, rewards 0.25 and 1."""
    fields = {
        "logp_N": torch.tensor([0.0, 1.0, 3.0, -3.0], dtype=torch.float64, requires_grad=True),
        "ref_logp_N": torch.tensor([-1.0, -1.0, -1.0, -1.0], dtype=torch.float64),
        "row_N": torch.tensor([0, 0, 1, 1]),
        "turn_N": torch.tensor([0, 0, 0, 1]),
        "reward_BK": torch.tensor([[1.0, 0.0], [0.25, 1.0]], dtype=torch.float64),
        "value_B": torch.tensor([0.5, 0.75], dtype=torch.float64),
    }
    return Samples(**{**fields, **changes})


def test_the_trajectory_loss_by_hand() -> None:
    batch = two_episodes()
    loss_B = astarpo(batch, BETA)
    # Residuals: 0.5 * 3 - (1 - 0.5) = 1 and 0.5 * 2 - (1.25 - 0.75) = 0.5; squared and divided by 2 * 0.5.
    assert loss_B.tolist() == [1.0, 0.25]
    (gradient_N,) = torch.autograd.grad(loss_B.sum(), batch.logp_N)
    assert gradient_N.tolist() == [1.0, 1.0, 0.5, 0.5]


def test_the_turn_loss_by_hand() -> None:
    batch = two_episodes()
    loss_B = astarpo_turn(batch, BETA)
    # Episode 1: G_0 = 2 - 0.25 + (-1 - 1) + 0.75 = 0.5 and G_1 = -1 - 1 + (0.75 - 0.25) = -1.5.
    assert loss_B.tolist() == [1.0, 0.25 + 2.25]
    (gradient_N,) = torch.autograd.grad(loss_B.sum(), batch.logp_N)
    assert gradient_N.tolist() == [1.0, 1.0, 0.5, -1.5]


@pytest.mark.parametrize("loss", [astarpo, astarpo_turn])
def test_turns_of_padding_count_for_nothing(loss: Loss) -> None:
    batch = two_episodes()
    wider = two_episodes(reward_BK=torch.nn.functional.pad(batch.reward_BK, (0, 3)))
    assert loss(wider, BETA).tolist() == loss(batch, BETA).tolist()


def test_both_agree_where_there_is_one_turn() -> None:
    batch = two_episodes(turn_N=torch.zeros(4, dtype=torch.long), reward_BK=torch.tensor([[1.0], [0.25]]).double())
    assert astarpo(batch, BETA).tolist() == astarpo_turn(batch, BETA).tolist()


@pytest.mark.parametrize("loss", [astarpo, astarpo_turn])
@pytest.mark.parametrize("place", ["logp_N", "ref_logp_N", "reward_BK", "value_B"])
def test_what_is_not_finite_shows_in_the_loss(loss: Loss, place: str) -> None:
    damaged = getattr(two_episodes(), place).detach().clone()
    damaged[-1] = torch.nan
    loss_B = loss(two_episodes(**{place: damaged}), BETA)
    assert loss_B.isfinite().tolist() == [True, False]
