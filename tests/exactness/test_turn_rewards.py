"""Turn rewards in games whose episodes differ in their number of turns: what reaches the gradient without bias.

With the reward to go and any baseline of the state, the expected gradient is that of the expected return. Rewards that
are compared turn by turn within a batch are another matter, be it that a mean is subtracted or that a standard
deviation is divided by as well (turn rewards normalised in the manner of MT-GRPO, summed from each turn on). What is
subtracted at a turn is paid by the episodes that reach it and spared by those that have ended: a cost per turn, which
changes the optimum. Expectations are over all batches of two episodes.

Axes as in `soft_mdp`, M episodes of all batches (each batch is two rows in succession), P parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.exactness.soft_mdp import Floats, SoftMDP, Trajectories, random_mdp, random_policy
from torch import Tensor

from turngym.trainers.objectives.groups import group_scores, leave_one_out_advantage, sums_to_go

Compare = Callable[[Tensor, Tensor], Tensor]
"""From numbers and their groups to numbers, as in `groups`."""


def exact_gradient(mdp: SoftMDP, policy_HSA: Floats) -> Floats:
    """Return the gradient of E[R] in the logits, without a KL term, by the policy gradient theorem."""
    values = mdp.values_of(policy_HSA, 0.0)
    return mdp.visits(policy_HSA)[..., None] * policy_HSA * (values.q_HSA - values.value_TS[:-1, :, None])


def expected_gradient(paths: Trajectories, policy_HSA: Floats, weight_BH: Floats) -> Floats:
    """Return the sum over trajectories and their turns of weight * grad log pi, `[H, S, A]`."""
    gradient_HSA = np.zeros(policy_HSA.shape)
    for row, turn in np.argwhere(paths.played_BH):
        state, action = paths.states_BT[row, turn], paths.actions_BH[row, turn]
        score_A = np.eye(policy_HSA.shape[-1])[action] - policy_HSA[turn, state]
        gradient_HSA[turn, state] += weight_BH[row, turn] * score_A
    return gradient_HSA


def to_go(reward_BH: Floats) -> Floats:
    return np.asarray(sums_to_go(torch.from_numpy(reward_BH)).numpy())


def compared_gradient(mdp: SoftMDP, policy_HSA: Floats, compare: Compare) -> Floats:
    """Return the expected gradient of a batch of two whose rewards are compared turn by turn, then summed to go."""
    paths = mdp.trajectories()
    odds_B = paths.odds(policy_HSA)
    row_M = np.stack(np.meshgrid(*[np.arange(len(odds_B))] * 2), axis=-1).ravel()
    odds_M = np.repeat(odds_B[row_M].reshape(-1, 2).prod(1), 2)
    batch_M = torch.arange(len(row_M)) // 2
    reward_MH, played_MH = (torch.from_numpy(x_BH[row_M]) for x_BH in (paths.reward_BH, paths.played_BH))
    compared_MH = torch.zeros_like(reward_MH)
    for turn, reached_M in enumerate(played_MH.T):
        compared_MH[reached_M, turn] = compare(reward_MH[reached_M, turn], batch_M[reached_M])
    weight_BH = np.zeros(paths.reward_BH.shape)
    np.add.at(weight_BH, row_M, odds_M[:, None] / 2 * to_go(compared_MH.numpy()))
    return expected_gradient(paths, policy_HSA, weight_BH)


def agreement(found_HSA: Floats, exact_HSA: Floats) -> tuple[float, float]:
    """Return the cosine of two gradients, and how far the first is off, in lengths of the second."""
    length = float(np.linalg.norm(exact_HSA))
    cosine = float((found_HSA * exact_HSA).sum()) / (float(np.linalg.norm(found_HSA)) * length)
    return cosine, float(np.linalg.norm(found_HSA - exact_HSA)) / length


def stop_or_go(policy: float) -> tuple[SoftMDP, Floats]:
    """Return a game in which stopping earns 0.6, and going on 0.5 now and 0.5 then; and a policy that goes on so often.

    The states are start, middle and end; the actions stop and go.
    """
    moves_SAN, reward_SAN = np.zeros((2, 3, 2, 3))
    moves_SAN[0, 0, 2], reward_SAN[0, 0, 2] = 1.0, 0.6
    moves_SAN[0, 1, 1], reward_SAN[0, 1, 1] = 1.0, 0.5
    moves_SAN[1, :, 2], reward_SAN[1, :, 2] = 1.0, 0.5
    policy_HSA = np.tile([1 - policy, policy], (2, 3, 1))
    mdp = SoftMDP(start_S=np.eye(3)[0], moves_SAN=moves_SAN, reward_SAN=reward_SAN, terminal_S=np.arange(3) == 2,
                  reference_HSA=policy_HSA, beta=1.0)  # fmt: skip
    return mdp, policy_HSA


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_reward_to_go_has_the_exact_gradient_with_any_baseline_of_the_state(seed: int) -> None:
    mdp = random_mdp(seed, terminal=True)
    policy_HSA = random_policy(mdp, seed)
    paths, exact_HSA = mdp.trajectories(), exact_gradient(mdp, policy_HSA)
    odds_B = paths.odds(policy_HSA)
    assert sorted(set(paths.played_BH.sum(1))) == [1, 2, 3], "episodes must differ in their number of turns"
    assert np.abs(exact_HSA).max() > 1e-2
    for baseline_TS in (
        np.zeros_like(mdp.optimum().value_TS),
        mdp.values_of(policy_HSA, 0.0).value_TS,
        np.random.default_rng(seed).normal(scale=3.0, size=mdp.optimum().value_TS.shape),
    ):
        advantage_BH = to_go(paths.reward_BH) - paths.visited(baseline_TS)[:, :-1]
        found_HSA = expected_gradient(paths, policy_HSA, odds_B[:, None] * advantage_BH)
        np.testing.assert_allclose(found_HSA, exact_HSA, rtol=0, atol=1e-14)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_means_of_turns_are_harmless_only_where_every_episode_reaches_every_turn(seed: int) -> None:
    """The mean of the others is then a constant of the turn; else whether it is subtracted depends on the actions."""
    for terminal in (False, True):
        mdp = random_mdp(seed, terminal=terminal)
        policy_HSA = random_policy(mdp, seed)
        found_HSA = compared_gradient(mdp, policy_HSA, leave_one_out_advantage)
        _, off = agreement(found_HSA, exact_gradient(mdp, policy_HSA))
        assert off > 0.25 if terminal else off < 1e-12


@pytest.mark.parametrize(("seed", "size"), [(0, (0.891, 0.459)), (1, (0.899, 0.653)), (2, (0.913, 0.580))])
def test_normalised_turn_rewards_have_a_biased_gradient(seed: int, size: tuple[float, float]) -> None:
    """Golden values: it points elsewhere, so no learning rate makes up for it, and is off by half its length."""
    mdp = random_mdp(seed, terminal=True)
    policy_HSA = random_policy(mdp, seed)
    found_HSA = compared_gradient(mdp, policy_HSA, group_scores)
    assert agreement(found_HSA, exact_gradient(mdp, policy_HSA)) == pytest.approx(size, abs=1e-3)


@pytest.mark.parametrize("policy", [0.2, 0.5, 0.9])
def test_normalised_turn_rewards_prefer_to_stop_where_going_on_earns_more(policy: float) -> None:
    """In closed form: +0.4 p (1 - p) for the logit of going on, and -p (1 - p) / sqrt(2) when normalised."""
    mdp, policy_HSA = stop_or_go(policy)
    spread = policy * (1 - policy)
    assert exact_gradient(mdp, policy_HSA)[0, 0, 1] == pytest.approx(0.4 * spread, rel=1e-12)
    found_HSA = compared_gradient(mdp, policy_HSA, group_scores)
    assert found_HSA[0, 0, 1] == pytest.approx(-spread / np.sqrt(2), rel=1e-4)
    # The lead over the others makes the same mistake: the second 0.5 is compared with itself or with nothing.
    led_HSA = compared_gradient(mdp, policy_HSA, leave_one_out_advantage)
    assert led_HSA[0, 0, 1] == pytest.approx(-0.1 * spread, rel=1e-12)
