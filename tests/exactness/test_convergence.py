"""A*PO(lambda) on sampled episodes of the slippery lake: where it arrives, and what optimistic values do to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.exactness.soft_mdp import Floats, SoftMDP, frozen_lake, logits_of
from tests.trainers.objectives.steps import step_params

from turngym.trainers.objectives.registry import find_objective


def learn(turn_lambda: float, value_TS: Floats, lake: SoftMDP, *, steps: int = 150, episodes: int = 256) -> float:
    """Learn on policy from sampled episodes with Adam, and return the exact J of the policy in units of V*."""
    rng, logits_HSA = np.random.default_rng(0), logits_of(lake.reference_HSA)
    optimizer = torch.optim.Adam([logits_HSA], lr=0.1)
    numbers = step_params("astarpo_turn", beta=lake.beta, turn_lambda=turn_lambda)
    loss = find_objective("astarpo_turn").loss
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        logp_HSA = logits_HSA.log_softmax(-1)
        paths = lake.play(logp_HSA.detach().exp().numpy(), episodes, rng)
        optimizer.zero_grad()
        loss(paths.samples(logp_HSA, lake.reference_HSA, value_TS), numbers).mean().backward()
        optimizer.step()
    return lake.objective(logits_HSA.detach().softmax(-1).numpy()) / lake.optimum().value_TS[0, 0]


@pytest.mark.parametrize("turn_lambda", [0.0, 0.9, 1.0])
def test_with_the_optimal_value_every_lambda_arrives_at_the_optimum(turn_lambda: float) -> None:
    lake = frozen_lake(0.8, 0.1)
    value_TS = lake.optimum().value_TS
    reached = learn(turn_lambda, value_TS, lake, steps=400, episodes=512)
    assert (1 - reached) * value_TS[0, 0] < 0.003


@pytest.mark.parametrize(("turns", "best", "astray"), [(20, 0.1967, 0.1106), (10, 0.1107, 0.0348)])
def test_optimistic_values_lead_lambda_zero_astray_and_lambda_one_not(turns: int, best: float, astray: float) -> None:
    """Where lambda = 0 arrives is known: the policy that is soft-greedy in its values, here V^E."""
    lake = frozen_lake(0.8, 0.1, turns=turns)
    optimistic_TS = lake.entropic().value_TS
    assert lake.optimum().value_TS[0, 0] == pytest.approx(best, abs=5e-5)
    assert lake.objective(lake.greedy(optimistic_TS)) == pytest.approx(astray, abs=5e-5)
    reached = learn(0.0, optimistic_TS, lake, steps=400, episodes=512)
    assert reached == pytest.approx(astray / best, abs=0.02) and reached < 0.6
    assert learn(1.0, optimistic_TS, lake, steps=400, episodes=512) > 0.95
