"""Potential-based shaping r + Phi(next) - Phi(now), with Phi = 0 at the end, changes values and no policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.exactness.soft_mdp import Floats, SoftMDP, expected_step, random_mdp, random_policy
from tests.trainers.objectives.steps import step_params

from turngym.envs.shaping import potential_gains
from turngym.trainers.objectives import TrainingBatch
from turngym.trainers.objectives.clipped import gigpo_advantages
from turngym.trainers.objectives.ppo import bilevel_gae, turn_gae


def shaped(mdp: SoftMDP, potential_S: Floats) -> SoftMDP:
    """Return the process with shaped rewards; the potential does not depend on time."""
    return replace(mdp, reward_SAN=mdp.reward_SAN + potential_S[None, None, :] - potential_S[:, None, None])


def ending_mdp() -> tuple[SoftMDP, Floats]:
    """Return a process all of whose last turns end in its terminal state, and a potential that is 0 there."""
    mdp = random_mdp(2, terminal=True, turns=2)
    moves_SAN = mdp.moves_SAN.copy()
    moves_SAN[:2] = 0.0
    moves_SAN[0, :, 1], moves_SAN[0, :, 2] = (0.7, 0.2), (0.3, 0.8)
    moves_SAN[1, :, 2] = 1.0
    return replace(mdp, moves_SAN=moves_SAN), np.array([0.8, -0.5, 0.0])


def after_the_end(mdp: SoftMDP, potential_S: Floats) -> Floats:
    """Return the potential of each state at each moment: 0 at the end."""
    potential_TS = np.tile(potential_S, (len(mdp.reference_HSA) + 1, 1))
    potential_TS[-1] = 0.0
    return potential_TS


def test_values_fall_by_the_potential_and_the_policy_stays() -> None:
    mdp, potential_S = ending_mdp()
    plain, moved = mdp.optimum(), shaped(mdp, potential_S).optimum()
    reached = mdp.visits(mdp.reference_HSA) > 0
    potential_TS = after_the_end(mdp, potential_S)
    np.testing.assert_allclose(moved.policy_HSA[reached], plain.policy_HSA[reached], rtol=0, atol=1e-14)
    np.testing.assert_allclose((moved.value_TS + potential_TS)[:-1][reached], plain.value_TS[:-1][reached], atol=1e-14)
    assert np.abs(moved.value_TS - plain.value_TS).max() > 0.1


@pytest.mark.parametrize("name", ["astarpo", "astarpo_turn"])
@pytest.mark.parametrize("turn_lambda", [0.0, 0.5, 1.0])
def test_steps_and_losses_do_not_change_when_values_are_shifted_too(name: str, turn_lambda: float) -> None:
    mdp, potential_S = ending_mdp()
    policy_HSA, value_TS = random_policy(mdp), np.random.default_rng(4).normal(size=(3, 3)) * [1.0, 1.0, 0.0]
    value_TS[-1] = 0.0
    plain = expected_step(name, mdp, policy_HSA, value_TS, policy_HSA, turn_lambda)
    moved = expected_step(
        name, shaped(mdp, potential_S), policy_HSA, value_TS - after_the_end(mdp, potential_S), policy_HSA, turn_lambda
    )
    assert moved[0] == pytest.approx(plain[0], abs=1e-14)
    np.testing.assert_allclose(moved[1], plain[1], rtol=0, atol=1e-14)
    assert np.abs(plain[1]).max() > 1e-3


def test_on_policy_at_lambda_one_shaping_alone_changes_no_step() -> None:
    """It is a baseline then; below lambda = 1 it is not, unless the values are shifted as well."""
    mdp, potential_S = ending_mdp()
    policy_HSA, value_TS = random_policy(mdp), mdp.optimum().value_TS

    def change(turn_lambda: float) -> float:
        plain_HSA, moved_HSA = (
            expected_step("astarpo_turn", each, policy_HSA, value_TS, policy_HSA, turn_lambda)[1]
            for each in (mdp, shaped(mdp, potential_S))
        )
        return float(np.abs(moved_HSA - plain_HSA).max())

    assert change(1.0) < 1e-14
    assert change(0.0) > 1e-2


def test_a_bonus_that_is_no_potential_changes_the_policy() -> None:
    mdp, _ = ending_mdp()
    bonus = replace(mdp, reward_SAN=mdp.reward_SAN + 0.1 * np.arange(3))
    assert np.abs(bonus.optimum().policy_HSA - mdp.optimum().policy_HSA).max() > 0.01


POTENTIALS = [[40.0, 90.0, 10.0], [40.0, 90.0, 70.0]]
"""Of the states of two episodes, which share the first two."""


@pytest.mark.parametrize("level", [turn_gae, bilevel_gae])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.8, 1.0])
def test_advantages_over_turns_are_those_of_the_game_for_a_discount_of_one_alone(
    level: Callable[..., tuple[list[float], list[float]]], gae_lambda: float
) -> None:
    """Turns of two tokens under a critic that says V, and V - Phi when shaped."""
    rewards, values, phi = [0.0, 0.5, 1.0], [0.4, 0.1, 0.9, -0.2, 0.6, 0.3], POTENTIALS[0]
    spans = [(0, 2), (2, 4), (4, 6)]

    def change(discount: float) -> float:
        step = step_params("ppo", gae_level="bilevel", gae_lambda=gae_lambda, turn_gamma=discount)
        plain, _ = level(spans, rewards, values, step)
        shaped, _ = level(spans, np.add(rewards, potential_gains(phi)).tolist(),
                          (np.array(values) - np.repeat(phi, 2)).tolist(), step)  # fmt: skip
        return float(np.abs(np.subtract(shaped, plain)).max())

    assert change(1.0) < 1e-12
    assert change(0.95) > 0.4


def test_gigpo_compares_turns_as_in_the_game_for_a_discount_of_one_alone() -> None:
    """The first episode wins. Discounted, the second state of the other, which led to more potential, looks better."""
    reward_BK = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    gains_BK = torch.tensor([potential_gains(phi_K) for phi_K in POTENTIALS], dtype=torch.float64)

    def advantages(reward_BK: torch.Tensor, discount: float) -> torch.Tensor:
        samples = TrainingBatch(
            logp_N=torch.zeros(6), episode_N=torch.arange(6) // 3, turn_N=torch.arange(6) % 3, reward_BK=reward_BK,
            group_B=torch.zeros(2), state_BK=torch.tensor([[0, 1, 2], [0, 1, 3]]),
        )  # fmt: skip
        return gigpo_advantages(samples, step_params("gigpo", gamma=discount))

    plain_N, shaped_N = advantages(reward_BK, 1.0), advantages(reward_BK + gains_BK, 1.0)
    torch.testing.assert_close(shaped_N, plain_N, rtol=0, atol=1e-12)
    assert plain_N[1] > 1.4
    assert abs(advantages(reward_BK, 0.95)[1] - plain_N[1]) < 1e-5
    assert abs(advantages(reward_BK + gains_BK, 0.95)[1]) < 1e-4
