"""The objectives on decision processes small enough to enumerate every trajectory.

States `[S]`, actions `[A]`, turns `[H]`, moments `[T]`, trajectories `[B]`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.exactness.soft_mdp import Floats, SoftMDP, expected_step, logits_of, random_mdp, random_policy
from tests.trainers.objectives.steps import step_params

from turngym.trainers.objectives.astarpo import astarpo_turn

OBJECTIVES = ["astarpo", "astarpo_turn"]
LAMBDAS = [0.0, 0.5, 1.0]


def values_to_try(mdp: SoftMDP) -> dict[str, Floats]:
    """Return values of states at each moment, right and wrong ones; terminal states and the end are worth 0."""
    best_TS = mdp.optimum().value_TS
    noise_TS = np.where(best_TS == 0, 0.0, np.random.default_rng(9).normal(size=best_TS.shape))
    return {"zero": 0 * best_TS, "random": noise_TS, "optimal": best_TS, "optimistic": mdp.entropic().value_TS}


def uniform(mdp: SoftMDP) -> Floats:
    return np.full(mdp.reference_HSA.shape, 1 / mdp.reference_HSA.shape[-1])


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("values", ["zero", "random", "optimal", "optimistic"])
@pytest.mark.parametrize(("seed", "terminal"), [(0, False), (1, False), (2, True)])
def test_on_policy_the_gradient_is_that_of_the_regularized_return_for_any_value(
    name: str, values: str, seed: int, terminal: bool
) -> None:
    mdp = random_mdp(seed, terminal=terminal)
    policy_HSA = random_policy(mdp, seed)
    ascent_HSA = mdp.objective_gradient(policy_HSA)
    _, gradient_HSA = expected_step(name, mdp, policy_HSA, values_to_try(mdp)[values], policy_HSA)
    assert np.abs(ascent_HSA).max() > 1e-2
    np.testing.assert_allclose(gradient_HSA, -ascent_HSA, rtol=0, atol=1e-12)


def test_lambda_zero_moves_towards_the_soft_greedy_policy_of_its_values() -> None:
    """The step is that of beta * KL(pi || ref * exp(Q_V / beta)) in the states that are visited, for any V."""
    mdp = random_mdp()
    policy_HSA = random_policy(mdp)
    for value_TS in values_to_try(mdp).values():
        greedy_HSA = torch.from_numpy(np.log(mdp.greedy(value_TS)))
        logits_HSA = logits_of(policy_HSA)
        logp_HSA = logits_HSA.log_softmax(-1)
        kl_HS = (logp_HSA.exp() * (logp_HSA - greedy_HSA)).sum(-1)
        loss = mdp.beta * (torch.from_numpy(mdp.visits(policy_HSA)) * kl_HS).sum()
        expected_HSA = torch.autograd.grad(loss, logits_HSA)[0].numpy()
        _, found_HSA = expected_step("astarpo_turn", mdp, policy_HSA, value_TS, policy_HSA, turn_lambda=0.0)
        np.testing.assert_allclose(found_HSA, expected_HSA, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_the_optimum_of_a_deterministic_process_every_trajectory_has_no_residual(seed: int) -> None:
    mdp = random_mdp(seed, deterministic=True)
    best = mdp.optimum()
    # The loss is a sum of squares, so where a behavior policy that tries everything has none, no trajectory has any.
    loss, gradient_HSA = expected_step("astarpo", mdp, best.policy_HSA, best.value_TS, uniform(mdp))
    assert loss < 1e-28
    assert np.abs(gradient_HSA).max() < 1e-13
    wrong, _ = expected_step("astarpo", mdp, best.policy_HSA, best.value_TS + 0.1, uniform(mdp))
    assert wrong == pytest.approx(0.1**2 / (2 * mdp.beta), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("decay", LAMBDAS)
def test_at_the_optimum_of_a_deterministic_process_every_turn_has_no_residual(seed: int, decay: float) -> None:
    """At every lambda, turn by turn and trajectory by trajectory; a V* of another temperature leaves residuals."""
    mdp = random_mdp(seed, deterministic=True, terminal=seed == 2)
    best = mdp.optimum()
    warmer = random_mdp(seed, deterministic=True, terminal=seed == 2, beta=0.6).optimum()

    def losses(value_TS: Floats) -> Floats:
        samples = mdp.trajectories().samples(logits_of(best.policy_HSA), mdp.reference_HSA, value_TS)
        step = step_params("astarpo_turn", beta=mdp.beta, turn_lambda=decay)
        return np.asarray(astarpo_turn(samples, step).detach().numpy())

    # A sum of squares over the turns of each trajectory.
    assert losses(best.value_TS).max() < 1e-28
    assert (losses(warmer.value_TS) > 1e-6).mean() > 0.9


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("deterministic", [True, False])
def test_at_the_optimum_the_expected_step_is_zero(name: str, deterministic: bool) -> None:
    mdp = random_mdp(deterministic=deterministic)
    best = mdp.optimum()
    for value_TS in (best.value_TS, np.zeros_like(best.value_TS)):
        _, gradient_HSA = expected_step(name, mdp, best.policy_HSA, value_TS, best.policy_HSA)
        assert np.abs(gradient_HSA).max() < 1e-13


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_the_optimum_of_a_process_with_chance_residuals_are_luck(seed: int) -> None:
    """E[delta | s, a] = 0 under any behavior, and the residual of a trajectory has the variance of all its luck."""
    mdp = random_mdp(seed, terminal=seed == 2)
    best, paths = mdp.optimum(), mdp.trajectories()
    odds_B = paths.odds(uniform(mdp))
    ratio_BH = paths.taken(np.log(best.policy_HSA / mdp.reference_HSA))
    value_BT = paths.visited(best.value_TS)
    delta_BH = mdp.beta * ratio_BH - paths.reward_BH - value_BT[:, 1:] + value_BT[:, :-1]
    mean_HSA = np.zeros(mdp.reference_HSA.shape)
    np.add.at(mean_HSA, (paths.turns, paths.states_BT[:, :-1], paths.actions_BH), odds_B[:, None] * delta_BH)
    assert np.abs(mean_HSA).max() < 1e-15
    assert np.abs(delta_BH).max() > 0.1

    luck_HSAN = mdp.reward_SAN + best.value_TS[1:, None, None, :] - best.q_HSA[..., None]
    variance_HSA = (mdp.moves_SAN * luck_HSAN**2).sum(-1)
    expected = (mdp.visits(uniform(mdp))[..., None] * uniform(mdp) * variance_HSA).sum()
    residual_B = delta_BH.sum(1)
    np.testing.assert_allclose(residual_B, mdp.beta * ratio_BH.sum(1) - paths.reward_BH.sum(1) + value_BT[:, 0])
    assert odds_B @ residual_B == pytest.approx(0.0, abs=1e-15)
    assert odds_B @ residual_B**2 == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta_value", [0.02, 0.3, 5.0, np.inf])
def test_on_policy_the_temperature_of_the_values_does_not_matter(beta_value: float) -> None:
    """The fixed point is that of the KL temperature, whatever the temperature of V."""
    mdp = random_mdp()
    best = mdp.optimum()
    value_TS = mdp.values_of(mdp.reference_HSA, 0.0).value_TS
    if beta_value < np.inf:
        value_TS = random_mdp(beta=beta_value).entropic().value_TS
    for name in OBJECTIVES:
        assert np.abs(expected_step(name, mdp, best.policy_HSA, value_TS, best.policy_HSA)[1]).max() < 1e-13
