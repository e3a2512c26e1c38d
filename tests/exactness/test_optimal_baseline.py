"""The centre of the advantages of `astarpo_turn`: no bias on policy, nothing at the optimum, less noise.

Trajectories `[B]`, turns `[H]`, states `[S]`, actions `[A]`.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.exactness.soft_mdp import Floats, SoftMDP, expected_step, logits_of, random_mdp, random_policy
from tests.trainers.objectives.steps import step_params
from torch import Tensor

from turngym.trainers.objectives import StepParams, TrainingBatch, astarpo_turn
from turngym.trainers.objectives.astarpo import optimal_baselines

LAMBDAS = [0.0, 0.5, 1.0]


def gradient(loss: Tensor, logits_HSA: Tensor) -> Floats:
    """Return the gradient of a loss in the logits; the graph stays."""
    return np.asarray(torch.autograd.grad(loss, logits_HSA, retain_graph=True)[0].numpy())


def centred(samples: TrainingBatch, step: StepParams[Any]) -> TrainingBatch:
    """Return the samples with their optimal_baselines."""
    return replace(samples, optimal_baseline_B=optimal_baselines(samples, step).detach())


def one_slip_loses(turns: int, actions: int, slip: float = 0.03) -> SoftMDP:
    """Return a game in which every turn has one right action, which is nearly always taken; the others lose."""
    moves_SAN, reward_SAN = np.zeros((3, actions, 3)), np.zeros((3, actions, 3))
    moves_SAN[0, 0, 0] = moves_SAN[0, 1:, 1] = moves_SAN[1:, :, 2] = 1.0
    reward_SAN[0, 0, 0] = 1 / turns
    reference_A = np.array([1 - slip, *[slip / (actions - 1)] * (actions - 1)])
    return SoftMDP(start_S=np.eye(3)[0], moves_SAN=moves_SAN, reward_SAN=reward_SAN, terminal_S=np.arange(3) > 0,
                   reference_HSA=np.tile(reference_A, (turns, 3, 1)), beta=0.01)  # fmt: skip


@pytest.mark.parametrize("turn_lambda", LAMBDAS)
def test_it_does_not_change_the_expected_gradient(turn_lambda: float) -> None:
    """Over all pairs of trajectories that the policy may play as a batch of two."""
    mdp = one_slip_loses(turns=3, actions=3)
    policy_HSA, value_TS = random_policy(mdp), np.random.default_rng(0).normal(size=(4, 3))
    step = step_params("astarpo_turn", beta=mdp.beta, turn_lambda=turn_lambda, optimal_baseline=True)
    paths, logits_HSA = mdp.trajectories(), logits_of(policy_HSA)
    odds_B = torch.from_numpy(paths.odds(policy_HSA))
    loss = moved = torch.zeros((), dtype=torch.float64)
    for first, second in itertools.product(range(len(odds_B)), repeat=2):
        pair = paths.rows(np.array([first, second])).samples(logits_HSA.log_softmax(-1), mdp.reference_HSA, value_TS)
        pair, odds = centred(pair, step), odds_B[first] * odds_B[second]
        loss = loss + odds * astarpo_turn(pair, step).mean()
        moved = moved + odds * pair.optimal_baseline_B.abs().mean()
    _, expected_HSA = expected_step("astarpo_turn", mdp, policy_HSA, value_TS, policy_HSA, turn_lambda)
    np.testing.assert_allclose(gradient(loss, logits_HSA), expected_HSA, rtol=0, atol=1e-14)
    assert moved > 0.1


@pytest.mark.parametrize("turn_lambda", LAMBDAS)
def test_it_is_nothing_at_the_optimum_without_chance(turn_lambda: float) -> None:
    """So pi* stays a fixed point whoever played the batch."""
    mdp = random_mdp(deterministic=True)
    best = mdp.optimum()
    step = step_params("astarpo_turn", beta=mdp.beta, turn_lambda=turn_lambda, optimal_baseline=True)
    samples = mdp.trajectories().samples(torch.from_numpy(np.log(best.policy_HSA)), mdp.reference_HSA, best.value_TS)
    assert float(optimal_baselines(samples, step).abs().max()) < 1e-14


@pytest.mark.parametrize("turn_lambda", LAMBDAS)
def test_the_gradient_has_less_noise_where_one_improbable_action_loses(turn_lambda: float) -> None:
    mdp = one_slip_loses(turns=6, actions=10)
    value_TS = mdp.values_of(mdp.reference_HSA, mdp.beta).value_TS
    step = step_params("astarpo_turn", beta=mdp.beta, turn_lambda=turn_lambda, optimal_baseline=True)
    rng = np.random.default_rng(0)

    def draw() -> tuple[Floats, Floats]:
        logits_HSA = logits_of(mdp.reference_HSA)
        paths = mdp.play(mdp.reference_HSA, 32, rng)
        samples = paths.samples(logits_HSA.log_softmax(-1), mdp.reference_HSA, value_TS)
        losses = (astarpo_turn(batch, step).mean() for batch in (samples, centred(samples, step)))
        plain_HSA, centred_HSA = (gradient(loss, logits_HSA) for loss in losses)
        return plain_HSA, centred_HSA

    noise, less = (np.array(steps_RHSA).var(0).sum() for steps_RHSA in zip(*(draw() for _ in range(400)), strict=True))
    assert less < 0.25 * noise
