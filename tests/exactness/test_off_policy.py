"""Learning from the episodes of another policy: it takes V*, and with chance it takes turns instead of trajectories.

States `[S]`, actions `[A]`, turns `[H]`, moments `[T]`.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.exactness.soft_mdp import Floats, SoftMDP, expected_step, random_mdp, random_policy

LAMBDAS = [0.0, 0.5, 1.0]


def steepest(name: str, mdp: SoftMDP, value_TS: Floats, turn_lambda: float = 1.0) -> float:
    """Return the largest entry of the expected step at pi*, of the episodes of some other policy."""
    best_HSA = mdp.optimum().policy_HSA
    _, step_HSA = expected_step(name, mdp, best_HSA, value_TS, random_policy(mdp, 5), turn_lambda)
    return float(np.abs(step_HSA).max())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("turn_lambda", LAMBDAS)
def test_turn_by_turn_the_optimum_is_a_fixed_point_under_every_behavior(seed: int, turn_lambda: float) -> None:
    mdp = random_mdp(seed, terminal=seed == 2)
    best_TS = mdp.optimum().value_TS
    assert steepest("astarpo_turn", mdp, best_TS, turn_lambda) < 1e-15
    assert steepest("astarpo_turn", mdp, mdp.entropic().value_TS, turn_lambda) > 1e-3
    assert steepest("astarpo_turn", mdp, np.zeros_like(best_TS), turn_lambda) > 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_whole_trajectories_have_the_optimum_as_a_fixed_point_only_without_chance_and_with_its_value(seed: int) -> None:
    certain, chancy = random_mdp(seed, deterministic=True), random_mdp(seed)
    assert steepest("astarpo", certain, certain.optimum().value_TS) < 1e-13
    assert steepest("astarpo", certain, certain.optimum().value_TS + 0.1) > 1e-3
    assert steepest("astarpo", chancy, chancy.optimum().value_TS) > 1e-3


# A coin, then a choice ----------------------------------------------------------------------------------------------

COIN = 1.0
"""What the coin pays; it falls before the choice and has nothing to do with it."""


def coin_and_choice() -> SoftMDP:
    """Return a coin (state 0, whatever is done) that leads to states 1 (paid) and 2; there action 0 earns 1."""
    moves_SAN, reward_SAN = np.zeros((4, 2, 4)), np.zeros((4, 2, 4))
    moves_SAN[0, :, 1:3] = 0.5
    moves_SAN[1:, :, 3] = 1.0
    reward_SAN[0, :, 1] = COIN
    reward_SAN[1:3, 0, 3] = 1.0
    return SoftMDP(start_S=np.eye(4)[0], moves_SAN=moves_SAN, reward_SAN=reward_SAN, terminal_S=np.arange(4) == 3,
                   reference_HSA=np.tile([0.3, 0.7], (2, 4, 1)), beta=0.5)  # fmt: skip


def descend(name: str, mdp: SoftMDP, value_TS: Floats, steps: int, turn_lambda: float = 1.0) -> Floats:
    """Follow the expected step on reference episodes with a constant rate, and return the policy."""
    policy_HSA = mdp.reference_HSA
    logits_HSA = np.log(policy_HSA)
    for _ in range(steps):
        logits_HSA = logits_HSA - expected_step(name, mdp, policy_HSA, value_TS, mdp.reference_HSA, turn_lambda)[1]
        policy_HSA = np.exp(logits_HSA) / np.exp(logits_HSA).sum(-1, keepdims=True)
    return policy_HSA


@pytest.mark.parametrize("turn_lambda", LAMBDAS)
def test_turn_by_turn_the_luck_of_the_coin_is_not_credited_to_the_choice(turn_lambda: float) -> None:
    mdp = coin_and_choice()
    best = mdp.optimum()
    policy_HSA = descend("astarpo_turn", mdp, best.value_TS, 400, turn_lambda)
    assert best.policy_HSA[1, 1:3, 0] == pytest.approx([0.76, 0.76], abs=1e-4)
    np.testing.assert_allclose(policy_HSA[1, 1:3], best.policy_HSA[1, 1:3], rtol=0, atol=1e-9)
    np.testing.assert_allclose(policy_HSA[0, 0], mdp.reference_HSA[0, 0], rtol=0, atol=1e-9)


def test_whole_trajectories_credit_the_luck_of_the_coin_to_the_choice() -> None:
    """Golden values: after a lucky coin the good choice is thought worse than it is, after an unlucky one better."""
    mdp = coin_and_choice()
    policy_HSA = descend("astarpo", mdp, mdp.optimum().value_TS, 400)
    assert policy_HSA[1, 1:3, 0] == pytest.approx([0.5699, 0.9070], abs=1e-4)
    assert policy_HSA[0, 0] == pytest.approx([0.3, 0.7], abs=1e-6)


# The temperature of the value ---------------------------------------------------------------------------------------


def one_choice() -> SoftMDP:
    """Return a single choice between winning and losing."""
    moves_SAN, reward_SAN = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    moves_SAN[:, :, 1] = 1.0
    reward_SAN[0, 0, 1] = 1.0
    return SoftMDP(start_S=np.eye(2)[0], moves_SAN=moves_SAN, reward_SAN=reward_SAN, terminal_S=np.arange(2) == 1,
                   reference_HSA=np.tile([0.3, 0.7], (1, 2, 1)), beta=0.5)  # fmt: skip


def test_off_policy_a_high_value_makes_the_policy_too_sharp_and_a_low_one_too_dull() -> None:
    mdp = one_choice()
    best = mdp.optimum()
    right, high, low = (descend("astarpo", mdp, best.value_TS + shift, 400)[0, 0, 0] for shift in (0.0, 0.3, -0.3))
    assert right == pytest.approx(best.policy_HSA[0, 0, 0], abs=1e-9) == pytest.approx(0.76, abs=1e-4)
    assert low < right - 0.1 and high > right + 0.08


def test_off_policy_the_temperature_of_the_value_matters() -> None:
    """A warmer V* is a lower one: it leaves the policy nearer to its reference."""
    mdp = one_choice()
    found = []
    for beta_value in (0.1, 0.5, 5.0):
        value = beta_value * math.log(0.3 * math.exp(1 / beta_value) + 0.7)
        found.append(float(descend("astarpo", mdp, np.array([[value, 0.0], [0.0, 0.0]]), 400)[0, 0, 0]))
    assert found[0] > found[1] + 0.03 and found[2] < found[1] - 0.05
    assert found[1] == pytest.approx(mdp.optimum().policy_HSA[0, 0, 0], abs=1e-9)
