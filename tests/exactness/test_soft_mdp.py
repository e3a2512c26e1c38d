"""The exact solutions that everything else is checked against: their own consistency, and what they say of A*PO."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.exactness.estimators import binary_value
from tests.exactness.soft_mdp import Floats, frozen_lake, logits_of, random_mdp, random_policy
from tests.trainers.objectives.steps import step_params

from turngym.trainers.objectives import imitation
from turngym.trainers.objectives.registry import find_objective
from turngym.trainers.stage_one.instance_values import ValueEstimates, composed_beta, composed_values

SEEDS = [(0, False), (1, False), (2, True)]


@pytest.mark.parametrize(("seed", "terminal"), SEEDS)
def test_enumeration_agrees_with_dynamic_programming(seed: int, terminal: bool) -> None:
    mdp = random_mdp(seed, terminal=terminal)
    policy_HSA, paths = random_policy(mdp, seed), mdp.trajectories()
    odds_B = paths.odds(policy_HSA)
    ratio_B = paths.taken(np.log(policy_HSA / mdp.reference_HSA)).sum(1)
    assert odds_B.sum() == pytest.approx(1.0, abs=1e-12)
    assert odds_B @ (paths.reward_BH.sum(1) - mdp.beta * ratio_B) == pytest.approx(mdp.objective(policy_HSA), abs=1e-12)
    exponentials = paths.odds(mdp.reference_HSA) @ np.exp(paths.reward_BH.sum(1) / mdp.beta)
    entropic_S = mdp.entropic().value_TS[0]
    assert mdp.start_S @ np.exp(entropic_S / mdp.beta) == pytest.approx(exponentials, rel=1e-12)


@pytest.mark.parametrize(("seed", "terminal"), SEEDS)
def test_the_gradient_of_the_objective_is_that_of_its_finite_differences(seed: int, terminal: bool) -> None:
    mdp = random_mdp(seed, terminal=terminal)
    policy_HSA = random_policy(mdp, seed)
    exact_HSA = mdp.objective_gradient(policy_HSA)
    for place in np.ndindex(exact_HSA.shape):
        sides = []
        for distance in (1e-5, -1e-5):
            moved_HSA = policy_HSA.copy()
            moved_HSA[place] *= math.exp(distance)
            sides.append(mdp.objective(moved_HSA / moved_HSA.sum(-1, keepdims=True)))
        assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(exact_HSA[place], abs=1e-9)


@pytest.mark.parametrize(("seed", "terminal"), SEEDS)
def test_the_optimum_reaches_its_value_and_no_other_policy_does(seed: int, terminal: bool) -> None:
    mdp = random_mdp(seed, terminal=terminal)
    best = mdp.optimum()
    assert mdp.objective(best.policy_HSA) == pytest.approx(mdp.start_S @ best.value_TS[0], abs=1e-12)
    assert best.policy_HSA.sum(-1) == pytest.approx(1.0)
    live_S = ~mdp.terminal_S
    np.testing.assert_allclose(mdp.greedy(best.value_TS)[:, live_S], best.policy_HSA[:, live_S], rtol=0, atol=1e-13)
    for policy_HSA in (mdp.reference_HSA, random_policy(mdp), mdp.entropic().policy_HSA):
        assert mdp.objective(policy_HSA) < mdp.start_S @ best.value_TS[0] - 1e-4


@pytest.mark.parametrize(("seed", "deterministic"), [(0, False), (1, False), (1, True)])
def test_the_optimal_value_lies_between_mean_and_entropic_value(seed: int, deterministic: bool) -> None:
    """Without chance it is the entropic value: the width of the bracket is no measure of chance, V^E - V* is."""
    mdp = random_mdp(seed, deterministic=deterministic)
    mean_TS = mdp.values_of(mdp.reference_HSA, 0.0).value_TS[:-1]
    best_TS, optimistic_TS = mdp.optimum().value_TS[:-1], mdp.entropic().value_TS[:-1]
    assert (mean_TS < best_TS - 1e-4).all()
    assert (optimistic_TS - best_TS < 1e-12).all() if deterministic else (optimistic_TS - best_TS > 1e-3).all()


def test_at_high_temperatures_optimism_is_half_the_variance_of_luck_over_beta() -> None:
    mdp = random_mdp(beta=300.0)
    best, optimistic_S = mdp.optimum(), mdp.entropic().value_TS[0]
    luck_HSAN = mdp.reward_SAN + best.value_TS[1:, None, None, :] - best.q_HSA[..., None]
    variance_HSA = (mdp.moves_SAN * luck_HSAN**2).sum(-1)
    variance = (mdp.visits(best.policy_HSA)[..., None] * best.policy_HSA * variance_HSA).sum()
    assert mdp.start_S @ (optimistic_S - best.value_TS[0]) == pytest.approx(variance / (2 * mdp.beta), rel=0.01)


# FrozenLake ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("success_rate", "beta", "best", "optimistic"),
    [(1.0, 0.1, 0.5617, 0.5617), (0.8, 0.1, 0.1967, 0.5617), (0.8, 0.05, 0.408, 0.781), (0.8, 0.02, 0.5941, 0.9123),
     (1 / 3, 0.1, 0.0194, 0.5617)],
)  # fmt: skip
def test_values_of_the_lake(success_rate: float, beta: float, best: float, optimistic: float) -> None:
    """Golden values: twenty uniform moves cross this lake once in 80 times, on ice of any slipperiness."""
    lake = frozen_lake(success_rate, beta)
    solution, mean_TS = lake.optimum(), lake.values_of(lake.reference_HSA, 0.0).value_TS
    p = mean_TS[0, 0]
    assert p == pytest.approx(0.0124448, abs=1e-7)
    assert solution.value_TS[0, 0] == pytest.approx(best, abs=1e-3 if beta == 0.05 else 5e-5)
    assert lake.objective(solution.policy_HSA) == pytest.approx(solution.value_TS[0, 0], abs=1e-12)
    entropic_TS = lake.entropic().value_TS
    assert entropic_TS[0, 0] == pytest.approx(optimistic, abs=1e-3 if beta == 0.05 else 5e-5)
    assert entropic_TS[0, 0] == pytest.approx(binary_value(p, beta), abs=1e-12)
    assert (mean_TS <= solution.value_TS + 1e-15).all() and (solution.value_TS <= entropic_TS + 1e-15).all()
    if success_rate == 1.0:
        np.testing.assert_allclose(solution.value_TS, entropic_TS, rtol=0, atol=1e-12)


# What A*PO rests on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [(1.0, 1.0), (1.0,) * 5, (1.0, 0.25), (0.5, 1.0, 0.2), (2.0, 0.3, 0.7, 1.1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_resetting_the_reference_adds_inverse_temperatures(shares: tuple[float, ...], seed: int) -> None:
    """Rounds at b_m, each from the optimum of the one before, are one at 1 / sum(1 / b_m); so V* is composed."""
    mdp = random_mdp(seed, terminal=True)
    betas = [mdp.beta * share for share in shares]
    reference_HSA, values = mdp.reference_HSA, []
    for beta in betas:
        solution = replace(mdp, reference_HSA=reference_HSA, beta=beta).optimum()
        reference_HSA = solution.policy_HSA
        flat = solution.value_TS.ravel()
        places = np.arange(flat.size)
        values.append(ValueEstimates(instances=places, values=flat, stds=0 * flat, counts=places, prior=0.0))
    direct = replace(mdp, beta=composed_beta(betas)).optimum()
    np.testing.assert_allclose(reference_HSA, direct.policy_HSA, rtol=0, atol=1e-12)
    composed = list(composed_values(values, betas).values())
    np.testing.assert_allclose(composed, direct.value_TS.ravel(), rtol=0, atol=1e-12)
    assert composed_beta(betas) == pytest.approx(mdp.beta / sum(1 / share for share in shares), abs=1e-15)


@pytest.mark.parametrize("deterministic", [True, False])
def test_imitation_weighted_by_returns_becomes_the_entropic_policy(deterministic: bool) -> None:
    """Weighted maximum likelihood on reference episodes, weights exp(R / beta): risk-seeking where there is chance."""
    mdp = random_mdp(deterministic=deterministic, terminal=True)
    paths = mdp.trajectories()
    weight_B = paths.odds(mdp.reference_HSA) * np.exp(paths.reward_BH.sum(1) / mdp.beta)
    count_HSA = np.zeros(mdp.reference_HSA.shape)
    place = paths.turns[paths.played_BH], paths.states_BT[:, :-1][paths.played_BH], paths.actions_BH[paths.played_BH]
    np.add.at(count_HSA, place, np.broadcast_to(weight_B[:, None], paths.played_BH.shape)[paths.played_BH])
    seen_HS = count_HSA.sum(-1) > 0
    imitation_HSA = count_HSA[seen_HS] / count_HSA[seen_HS].sum(-1, keepdims=True)
    np.testing.assert_allclose(imitation_HSA, mdp.entropic().policy_HSA[seen_HS], rtol=0, atol=1e-12)
    gap = np.abs(imitation_HSA - mdp.optimum().policy_HSA[seen_HS]).max()
    assert gap < 1e-12 if deterministic else gap > 0.01


def test_the_imitation_objective_has_that_fixed_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imitation, "LARGEST_EXPONENT", 99.0)
    mdp = random_mdp(terminal=True)
    paths, step = mdp.trajectories(), step_params("awr", beta=mdp.beta, beta_value=mdp.beta, kl_coef=0.0)
    awr, odds_B = find_objective("awr"), torch.from_numpy(paths.odds(mdp.reference_HSA))
    weights = awr.advantages
    assert weights is not None

    def steepest(policy_HSA: Floats) -> float:
        logits_HSA = logits_of(policy_HSA)
        samples = paths.samples(logits_HSA.log_softmax(-1), mdp.reference_HSA, np.zeros((4, 3)))
        samples = replace(samples, advantage_N=weights(samples, step).detach())
        return float(torch.autograd.grad(odds_B @ awr.loss(samples, step), logits_HSA)[0].abs().max())

    assert steepest(mdp.entropic().policy_HSA) < 1e-13
    assert steepest(mdp.optimum().policy_HSA) > 0.01


def success(lake_policy_HSA: Floats, success_rate: float) -> float:
    lake = frozen_lake(success_rate, 1.0)
    return float(lake.values_of(lake_policy_HSA, 0.0).value_TS[0, 0])


def test_on_slippery_ice_the_risk_seeking_policy_falls_in() -> None:
    lake = frozen_lake(0.8, 0.02)
    assert success(lake.optimum().policy_HSA, 0.8) == pytest.approx(0.739, abs=2e-3)
    assert success(lake.entropic().policy_HSA, 0.8) == pytest.approx(0.276, abs=2e-3)


def test_the_most_that_can_be_won_on_slippery_ice() -> None:
    """Without a KL cost; a cost of beta per nat gives some of it up."""
    assert frozen_lake(0.8, 1e-5).optimum().value_TS[0, 0] == pytest.approx(0.7844, abs=5e-4)
    rates = [success(frozen_lake(0.8, beta).optimum().policy_HSA, 0.8) for beta in (0.02, 0.1, 0.25)]
    assert rates == sorted(rates, reverse=True) and rates[0] < 0.78
