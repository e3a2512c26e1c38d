"""What a KL term in the loss pulls towards, on policy: an audit of the three estimators, d = log pi - log pi_ref.

Only the gradient of `d^2 / 2` is that of KL(pi || pi_ref). `d` itself has none in expectation, although its mean is the
KL; and that of `exp(-d) - 1 + d`, whose mean is the KL too, is the gradient of KL(pi_ref || pi).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.exactness.soft_mdp import Floats, expected_step, logits_of, random_mdp, random_policy
from tests.trainers.objectives.steps import step_params
from torch import Tensor

from turngym.trainers.objectives.clipped import kl_penalty
from turngym.trainers.objectives.imitation import squared_log_ratio
from turngym.trainers.objectives.registry import StepParams, TrainingBatch

MDP = random_mdp(turns=1)
POLICY_HSA = random_policy(MDP)
Term = Callable[[TrainingBatch, StepParams[Any]], Tensor]


def log_ratio(samples: TrainingBatch, step: StepParams[Any]) -> Tensor:
    """Return d, which looks like a KL term and is none."""
    return step.config.kl_coef * (samples.logp_N - samples.ref_logp_N)


def kl_gradient(forward: bool) -> Floats:
    """Return the exact gradient of KL(pi || pi_ref), or else of KL(pi_ref || pi), by state and in the logits."""
    logits_HSA = logits_of(POLICY_HSA)
    gap_HSA = logits_HSA.log_softmax(-1) - torch.from_numpy(np.log(MDP.reference_HSA))
    kl_HSA = logits_HSA.softmax(-1) * gap_HSA if forward else -torch.from_numpy(MDP.reference_HSA) * gap_HSA
    kl = (torch.from_numpy(MDP.start_S) * kl_HSA[0].sum(-1)).sum()
    return np.asarray(torch.autograd.grad(kl, logits_HSA)[0].numpy())


def term_gradient(term: Term) -> Floats:
    """Return the expected gradient of a term in the loss over the policy's own episodes."""
    paths, logits_HSA = MDP.trajectories(), logits_of(POLICY_HSA)
    samples = paths.samples(logits_HSA.log_softmax(-1), MDP.reference_HSA, np.zeros((2, 3)))
    cost_B = samples.per_episode(term(samples, step_params("grpo", beta=MDP.beta, kl_coef=1.0)))
    expected = torch.from_numpy(paths.odds(POLICY_HSA)) @ cost_B
    return np.asarray(torch.autograd.grad(expected, logits_HSA)[0].numpy())


@pytest.mark.parametrize(
    ("term", "expected_HSA"),
    [
        (log_ratio, np.zeros((1, 3, 2))),
        (squared_log_ratio, kl_gradient(forward=True)),
        (kl_penalty, kl_gradient(forward=False)),
    ],
)
def test_gradients_of_kl_terms(term: Term, expected_HSA: Floats) -> None:
    np.testing.assert_allclose(term_gradient(term), expected_HSA, rtol=0, atol=1e-14)


def test_the_three_gradients_differ() -> None:
    assert np.abs(kl_gradient(forward=True)).max() > 0.01
    assert np.abs(kl_gradient(forward=True) - kl_gradient(forward=False)).max() > 0.01


def test_without_rewards_the_objectives_pull_towards_the_reference() -> None:
    """The A*PO loss itself holds the square of the log-ratio: beta times the gradient of KL(pi || pi_ref)."""
    mdp = random_mdp(turns=1)
    mdp.reward_SAN[:] = 0.0
    for name in ("astarpo", "astarpo_turn"):
        _, step_HSA = expected_step(name, mdp, POLICY_HSA, np.zeros((2, 3)), POLICY_HSA)
        np.testing.assert_allclose(step_HSA, mdp.beta * kl_gradient(forward=True), rtol=0, atol=1e-14)
