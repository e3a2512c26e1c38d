"""The registered objectives on a decision process small enough to enumerate every trajectory.

Three states, two actions, three turns, float64. States `[S]`, actions `[A]`, turns `[H]`, trajectories `[B]`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from turngym.trainers.objectives import Samples, find_objective

Floats = NDArray[np.float64]
STATES, ACTIONS, TURNS = 3, 2, 3
BETA = 0.3
OBJECTIVES = ["astarpo", "astarpo_turn"]


@dataclass
class Process:
    """A finite decision process with a reference policy."""

    start_S: Floats
    moves_SAS: Floats
    reward_SAS: Floats
    reference_HSA: Floats

    def optimum(self) -> tuple[Floats, Floats]:
        """Return V* `[H + 1, S]` and log pi* `[H, S, A]`, by the soft Bellman equation from the last turn back."""
        value_HS = np.zeros((TURNS + 1, STATES))
        policy_HSA = np.zeros((TURNS, STATES, ACTIONS))
        for turn in reversed(range(TURNS)):
            q_SA = (self.moves_SAS * (self.reward_SAS + value_HS[turn + 1])).sum(-1)
            value_HS[turn] = BETA * np.log((self.reference_HSA[turn] * np.exp(q_SA / BETA)).sum(-1))
            policy_HSA[turn] = np.log(self.reference_HSA[turn]) + (q_SA - value_HS[turn][:, None]) / BETA
        return value_HS, policy_HSA

    def optimistic_value(self) -> Floats:
        """Return what log-mean-exp over rollouts estimates, `[S]`: the luck of the process taken for skill."""
        value_S = np.zeros(STATES)
        for turn in reversed(range(TURNS)):
            inner_SAS = np.exp((self.reward_SAS + value_S) / BETA)
            value_S = BETA * np.log(np.einsum("sa,sat,sat->s", self.reference_HSA[turn], self.moves_SAS, inner_SAS))
        return value_S

    def objective_value(self, logp_HSA: Tensor) -> Tensor:
        """Return J = E[R] - beta * KL(pi || ref), by dynamic programming and without a single trajectory."""
        moves_SAS, reward_SAS = torch.from_numpy(self.moves_SAS), torch.from_numpy(self.reward_SAS)
        value_S = torch.zeros(STATES, dtype=torch.float64)
        for turn in reversed(range(TURNS)):
            q_SA = (moves_SAS * (reward_SAS + value_S)).sum(-1)
            ratio_SA = logp_HSA[turn] - torch.from_numpy(self.reference_HSA[turn]).log()
            value_S = (logp_HSA[turn].exp() * (q_SA - BETA * ratio_SA)).sum(-1)
        return torch.from_numpy(self.start_S) @ value_S

    def trajectories(self) -> Floats:
        """Return every trajectory as states and actions in turn, `[B, 2H + 1]`."""
        return np.array(list(itertools.product(*[range(STATES), range(ACTIONS)] * TURNS, range(STATES))))

    def expected_loss(self, name: str, logp_HSA: Tensor, value_S: Floats, behavior_HSA: Floats) -> Tensor:
        """Return the expectation of an objective over all trajectories of a behavior policy."""
        paths = self.trajectories()
        states_BH, actions_BH, next_BH = paths[:, 0:-1:2], paths[:, 1::2], paths[:, 2::2]
        turns_BH = np.broadcast_to(np.arange(TURNS), states_BH.shape)
        odds_BH = behavior_HSA[turns_BH, states_BH, actions_BH] * self.moves_SAS[states_BH, actions_BH, next_BH]
        odds_B = torch.from_numpy(self.start_S[states_BH[:, 0]] * odds_BH.prod(1))
        samples = Samples(
            logp_N=logp_HSA[turns_BH.ravel(), states_BH.ravel(), actions_BH.ravel()],
            ref_logp_N=torch.from_numpy(np.log(self.reference_HSA[turns_BH, states_BH, actions_BH].ravel())),
            row_N=torch.arange(len(paths)).repeat_interleave(TURNS),
            turn_N=torch.arange(TURNS).repeat(len(paths)),
            reward_BK=torch.from_numpy(self.reward_SAS[states_BH, actions_BH, next_BH]),
            value_B=torch.from_numpy(value_S[states_BH[:, 0]]),
        )
        assert float(odds_B.sum()) == pytest.approx(1.0, abs=1e-12)
        return (odds_B * find_objective(name).loss(samples, BETA)).sum()


def process(seed: int = 0, *, deterministic: bool = False) -> Process:
    rng = np.random.default_rng(seed)
    moves_SAS = rng.dirichlet(np.ones(STATES), size=(STATES, ACTIONS))
    if deterministic:
        moves_SAS = np.eye(STATES)[moves_SAS.argmax(-1)]
    return Process(
        start_S=rng.dirichlet(np.ones(STATES)),
        moves_SAS=moves_SAS,
        reward_SAS=rng.uniform(-1, 1, (STATES, ACTIONS, STATES)),
        reference_HSA=rng.dirichlet(np.ones(ACTIONS), size=(TURNS, STATES)),
    )


def gradient(loss: Tensor, logits_HSA: Tensor) -> Floats:
    (result_HSA,) = torch.autograd.grad(loss, logits_HSA)
    return np.asarray(result_HSA.numpy())


def random_logits(seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(TURNS, STATES, ACTIONS))).requires_grad_()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("values", ["zero", "random", "optimal", "optimistic"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_policy_the_gradient_is_that_of_the_regularized_return_for_any_value(
    name: str, values: str, seed: int
) -> None:
    problem = process(seed)
    value_S = {
        "zero": np.zeros(STATES),
        "random": np.random.default_rng(9).normal(size=STATES),
        "optimal": problem.optimum()[0][0],
        "optimistic": problem.optimistic_value(),
    }[values]
    logits_HSA = random_logits(seed)
    logp_HSA = logits_HSA.log_softmax(-1)
    loss = problem.expected_loss(name, logp_HSA, value_S, logp_HSA.detach().exp().numpy())
    ascent_HSA = gradient(problem.objective_value(logits_HSA.log_softmax(-1)), logits_HSA)
    assert np.abs(ascent_HSA).max() > 1e-2
    np.testing.assert_allclose(gradient(loss, logits_HSA), -ascent_HSA, rtol=0, atol=1e-12)


def test_the_regularized_return_that_is_compared_with_has_the_gradient_of_its_finite_differences() -> None:
    problem, logits_HSA = process(), random_logits()
    exact_HSA = gradient(problem.objective_value(logits_HSA.log_softmax(-1)), logits_HSA)
    for place in np.ndindex(exact_HSA.shape):
        step_HSA = torch.zeros_like(logits_HSA)
        step_HSA[place] = 1e-5
        with torch.no_grad():
            up, down = (problem.objective_value((logits_HSA + s * step_HSA).log_softmax(-1)) for s in (1, -1))
        assert float(up - down) / 2e-5 == pytest.approx(exact_HSA[place], abs=1e-9)


def test_the_optimum_reaches_its_value_and_optimism_lies_above_it() -> None:
    problem = process()
    value_HS, policy_HSA = problem.optimum()
    reached = problem.objective_value(torch.from_numpy(policy_HSA))
    assert float(reached) == pytest.approx(problem.start_S @ value_HS[0], abs=1e-12)
    assert (problem.optimistic_value() > value_HS[0] + 1e-3).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_the_optimum_of_a_deterministic_process_every_trajectory_has_no_residual(seed: int) -> None:
    problem = process(seed, deterministic=True)
    value_HS, policy_HSA = problem.optimum()
    logp_HSA = torch.from_numpy(policy_HSA).requires_grad_()
    # The loss is a sum of squares, so where a behavior policy that tries everything has none, no trajectory has any.
    uniform_HSA = np.full((TURNS, STATES, ACTIONS), 1 / ACTIONS)
    loss = problem.expected_loss("astarpo", logp_HSA, value_HS[0], uniform_HSA)
    assert loss.item() < 1e-28
    assert np.abs(gradient(loss, logp_HSA)).max() < 1e-13
    wrong = problem.expected_loss("astarpo", logp_HSA, value_HS[0] + 0.1, uniform_HSA)
    assert wrong.item() == pytest.approx(0.1**2 / (2 * BETA), rel=1e-9)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("deterministic", [True, False])
def test_at_the_optimum_the_expected_step_is_zero(name: str, deterministic: bool) -> None:
    problem = process(deterministic=deterministic)
    value_HS, policy_HSA = problem.optimum()
    logits_HSA = torch.from_numpy(policy_HSA).requires_grad_()
    for value_S in (value_HS[0], np.zeros(STATES)):
        loss = problem.expected_loss(name, logits_HSA.log_softmax(-1), value_S, np.exp(policy_HSA))
        assert np.abs(gradient(loss, logits_HSA)).max() < 1e-13


def test_off_policy_the_value_matters_and_past_luck_leaks_into_whole_trajectories() -> None:
    """What the docstrings warn of: the identity holds on policy; elsewhere it needs V* and no luck."""
    uniform_HSA = np.full((TURNS, STATES, ACTIONS), 1 / ACTIONS)

    def step(problem: Process, shift: float) -> float:
        value_HS, policy_HSA = problem.optimum()
        logits_HSA = torch.from_numpy(policy_HSA).requires_grad_()
        loss = problem.expected_loss("astarpo", logits_HSA.log_softmax(-1), value_HS[0] + shift, uniform_HSA)
        return float(np.abs(gradient(loss, logits_HSA)).max())

    assert step(process(deterministic=True), 0.0) < 1e-13
    assert step(process(deterministic=True), 0.1) > 1e-3
    assert step(process(deterministic=False), 0.0) > 1e-3
