"""The losses of A*PO on a batch small enough for pencil and paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.trainers.objectives.steps import step_params

from turngym.trainers.objectives import TrainingBatch, astarpo, astarpo_turn
from turngym.trainers.objectives.astarpo import optimal_baselines
from turngym.trainers.objectives.registry import Loss

STEP = step_params("astarpo_turn", beta=0.5)


def two_episodes(**changes: Any) -> TrainingBatch:
    """Episode 0: one turn of two tokens, l = 1 + 2, R = 1. Episode 1: turns with l = 4 and -2, rewards 0.25 and 1."""
    fields: dict[str, Any] = {
        "logp_N": torch.tensor([0.0, 1.0, 3.0, -3.0], dtype=torch.float64, requires_grad=True),
        "ref_logp_N": torch.tensor([-1.0, -1.0, -1.0, -1.0], dtype=torch.float64),
        "episode_N": torch.tensor([0, 0, 1, 1]),
        "turn_N": torch.tensor([0, 0, 0, 1]),
        "reward_BK": torch.tensor([[1.0, 0.0], [0.25, 1.0]], dtype=torch.float64),
        "value_BK": torch.tensor([[0.5, 0.0], [0.75, 0.5]], dtype=torch.float64),
    }
    return TrainingBatch(**{**fields, **changes})


def test_the_trajectory_loss_by_hand() -> None:
    batch = two_episodes()
    loss_B = astarpo(batch, STEP)
    # Residuals: 0.5 * 3 - (1 - 0.5) = 1 and 0.5 * 2 - (1.25 - 0.75) = 0.5; squared and divided by 2 * 0.5.
    assert loss_B.tolist() == [1.0, 0.25]
    (gradient_N,) = torch.autograd.grad(loss_B.sum(), batch.logp_N)
    assert gradient_N.tolist() == [1.0, 1.0, 0.5, 0.5]


def test_the_turn_loss_by_hand() -> None:
    batch = two_episodes()
    loss_B = astarpo_turn(batch, STEP)
    # Episode 1: G_0 = 2 - 0.25 + (-1 - 1) + 0.75 = 0.5 and G_1 = -1 - 1 + (0.75 - 0.25) = -1.5.
    assert loss_B.tolist() == [1.0, 0.25 + 2.25]
    (gradient_N,) = torch.autograd.grad(loss_B.sum(), batch.logp_N)
    assert gradient_N.tolist() == [1.0, 1.0, 0.5, -1.5]


def test_values_between_the_turns_count_where_lambda_is_below_one() -> None:
    def residuals(turn_lambda: float) -> list[float]:
        batch = two_episodes(value_BK=torch.tensor([[0.5, 7.0], [0.75, 0.25]], dtype=torch.float64))
        loss_B = astarpo_turn(batch, step_params("astarpo_turn", beta=0.5, turn_lambda=turn_lambda))
        (gradient_N,) = torch.autograd.grad(loss_B.sum(), batch.logp_N)
        return gradient_N.tolist()

    # Episode 1: delta_0 = 2 - 0.25 - 0.25 + 0.75 = 2.25 and delta_1 = -1 - 1 + 0.25 = -1.75. The end is worth 0.
    assert residuals(0.0) == [1.0, 1.0, 2.25, -1.75]
    assert residuals(0.5) == [1.0, 1.0, 2.25 - 0.875, -1.75]
    assert residuals(1.0) == [1.0, 1.0, 0.5, -1.75]


def test_centres_are_weighted_means_over_the_other_episodes_by_hand() -> None:
    """Turns with G = 1, then 0.5 and -1.5, and probabilities 1/2 and 1/4, then 1/4, then 1."""
    batch = two_episodes(logp_N=torch.tensor([0.5, 0.25, 0.25, 1.0]).double().log().requires_grad_())
    # Its log-ratios, and so its G, as in the loss by hand.
    batch = replace(batch, ref_logp_N=batch.logp_N.detach() - torch.tensor([1.0, 2.0, 4.0, -2.0]).double())
    # Episode 1: (9/16 * 0.5 + 0 * -1.5) / (9/16) = 0.5; episode 0: its one turn has 1.
    assert optimal_baselines(batch, STEP).tolist() == pytest.approx([0.5, 1.0])
    loss_B = astarpo_turn(replace(batch, optimal_baseline_B=optimal_baselines(batch, STEP).detach()), STEP)
    (gradient_N,) = torch.autograd.grad(loss_B.sum(), batch.logp_N)
    assert gradient_N.tolist() == pytest.approx([0.5, 0.5, -0.5, -2.5])


def test_nothing_is_taken_off_where_the_others_say_nothing() -> None:
    """An episode alone, and one beside another of which every token was certain."""
    batch = two_episodes(logp_N=torch.tensor([-1.0, -1.0, 0.0, 0.0]).double())
    assert optimal_baselines(batch, STEP)[0] == 0.0 != optimal_baselines(batch, STEP)[1]
    assert optimal_baselines(batch.select([0]), STEP).tolist() == [0.0]


@pytest.mark.parametrize("loss", [astarpo, astarpo_turn])
def test_turns_of_padding_count_for_nothing(loss: Loss) -> None:
    batch = two_episodes()
    wider = two_episodes(
        reward_BK=torch.nn.functional.pad(batch.reward_BK, (0, 3)),
        value_BK=torch.nn.functional.pad(batch.value_BK, (0, 3), value=9.0),
    )
    assert loss(wider, STEP).tolist() == loss(batch, STEP).tolist()


def test_both_agree_where_there_is_one_turn() -> None:
    batch = two_episodes(turn_N=torch.zeros(4, dtype=torch.long), reward_BK=torch.tensor([[1.0], [0.25]]).double(),
                         value_BK=torch.tensor([[0.5], [0.75]]).double())  # fmt: skip
    assert astarpo(batch, STEP).tolist() == astarpo_turn(batch, STEP).tolist()


@pytest.mark.parametrize("loss", [astarpo, astarpo_turn])
@pytest.mark.parametrize("place", ["logp_N", "ref_logp_N", "reward_BK", "value_BK"])
def test_what_is_not_finite_shows_in_the_loss(loss: Loss, place: str) -> None:
    damaged = getattr(two_episodes(), place).detach().clone()
    damaged[-1] = torch.nan
    loss_B = loss(two_episodes(**{place: damaged}), STEP)
    assert loss_B.isfinite().tolist() == [True, False]
