"""Estimates of state values against the exact ones: soft value iteration, Monte Carlo, luck, and the tracker."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.exactness.soft_mdp import Floats, SoftMDP, frozen_lake, random_mdp, random_policy

from turngym.trainers.running_means import RunningMean
from turngym.trainers.stage_one.soft_values import Transitions, monte_carlo_values, read_transitions, soft_values
from turngym.trainers.stage_one.variance import StateEstimator, recommend, variance_split

BETA = 0.1
REFERENCES = {1.0: 0.25, 0.8: 0.18, 1 / 3: 0.03}
"""For ice of each slipperiness, the temperature whose optimum is a mediocre reference."""


def mediocre_lake(success_rate: float) -> SoftMDP:
    """Return the lake under a reference that is better than chance and far from the optimum."""
    lake = frozen_lake(success_rate, BETA)
    return replace(lake, reference_HSA=replace(lake, beta=REFERENCES[success_rate]).optimum().policy_HSA)


def played(mdp: SoftMDP, episodes: int, seed: int) -> Transitions:
    """Return play by the reference; where there is a way to a reward, its length is what states are alike by."""
    transitions = read_transitions(mdp.play(mdp.reference_HSA, episodes, np.random.default_rng(seed)).stored_turns())
    left_S, near_S = np.zeros(len(mdp.start_S)), (mdp.reward_SAN > 0).any((1, 2))
    for _ in mdp.start_S:
        left_S, near_S = left_S + ~near_S, near_S | (mdp.moves_SAN.max(1) @ near_S > 0)
    potentials = [-float(left_S[int(key.split("|")[0])]) for key in transitions.keys]
    return replace(transitions, potential_S=np.array(potentials))


def exact_values(mdp: SoftMDP, transitions: Transitions) -> Floats:
    """Return V* of every state that was met."""
    best_TS, places = mdp.optimum().value_TS, (map(int, key.split("|")) for key in transitions.keys)
    return np.array([best_TS[len(mdp.reference_HSA) - left, state] for state, left in places])


def test_soft_value_iteration_tends_to_the_optimal_value_and_log_mean_exp_does_not() -> None:
    lake = mediocre_lake(0.8)
    best, optimistic = lake.optimum().value_TS[0, 0], lake.entropic().value_TS[0, 0]
    assert (best, optimistic) == pytest.approx((0.4812, 0.8356), abs=1e-4)
    found = [
        (soft_values(t, BETA, 1.0)[0], monte_carlo_values(t, BETA)[0], monte_carlo_values(t, math.inf)[0])
        for t in (played(lake, 2048, seed) for seed in range(3))
    ]
    soft, log_mean_exp, mean = np.mean(found, axis=0)
    assert soft == pytest.approx(best, abs=0.02)
    assert log_mean_exp == pytest.approx(optimistic, abs=0.02)
    assert mean < best - 0.1


def test_bootstrapping_from_log_mean_exp_loses_what_soft_value_iteration_keeps() -> None:
    """J of the policy that is soft-greedy in estimated values, which is where lambda = 0 arrives."""
    lake = mediocre_lake(0.8)
    for seed in range(2):
        transitions = played(lake, 2048, seed)
        reached = []
        for values_S in (soft_values(transitions, BETA, 1.0), monte_carlo_values(transitions, BETA)):
            value_TS = np.zeros_like(lake.optimum().value_TS)
            for key, value in zip(transitions.keys, values_S, strict=True):
                state, left = map(int, key.split("|"))
                value_TS[len(lake.reference_HSA) - left, state] = value
            reached.append(lake.objective(lake.greedy(value_TS)) / lake.optimum().value_TS[0, 0])
        assert reached[0] > 0.95 and reached[1] < 0.88


def test_pseudo_visits_take_away_the_optimism_of_few_episodes() -> None:
    lake = mediocre_lake(0.8)
    best = lake.optimum().value_TS[0, 0]
    few = [played(lake, 32, seed) for seed in range(20)]
    plain, shrunk = (np.array([soft_values(t, BETA, strength)[0] for t in few]) - best for strength in (0.0, 1.0))
    assert plain.mean() > 0.15
    assert abs(shrunk.mean()) < 0.6 * plain.mean()
    assert np.sqrt((shrunk**2).mean()) < 0.7 * np.sqrt((plain**2).mean())


@pytest.mark.parametrize("success_rate", [0.8, 1 / 3])
def test_states_tried_in_one_way_alone_learn_from_their_like(success_rate: float) -> None:
    """RMSE where the state's own mean is the very sample, so that nothing but the bucket can shrink it."""
    lake, errors = mediocre_lake(success_rate), []
    for transitions in (played(lake, 32, seed) for seed in range(10)):
        once_S = np.bincount(transitions.pair_state_P) == 1
        assert once_S.mean() > 0.4
        exact_S, alone = (
            exact_values(lake, transitions),
            replace(transitions, potential_S=np.arange(len(once_S), dtype=np.float64)),
        )
        found = (
            soft_values(transitions, BETA, 0.0),
            soft_values(alone, BETA, 1.0),
            soft_values(transitions, BETA, 1.0),
        )
        errors.append([np.sqrt(np.mean((v - exact_S)[chosen] ** 2)) for v in found for chosen in (once_S, ~once_S)])
    plain, own, pooled = np.mean(errors, axis=0).reshape(3, 2)
    assert own[0] > 0.85 * plain[0], "without its like, hardly anything is shrunk"
    assert pooled[0] < 0.95 * own[0] and pooled[1] < 0.98 * own[1] < 0.9 * plain[1]


def test_every_visited_state_has_its_value() -> None:
    mdp = random_mdp(turns=3)
    transitions = played(mdp, 6000, 0)
    exact = exact_values(mdp, transitions)
    assert len(exact) == 9
    np.testing.assert_allclose(soft_values(transitions, mdp.beta, 0.0), exact, atol=0.06)


def test_without_chance_both_forms_tend_to_the_optimal_value() -> None:
    lake = mediocre_lake(1.0)
    transitions = played(lake, 2048, 0)
    best = lake.optimum().value_TS[0, 0]
    assert best == pytest.approx(lake.entropic().value_TS[0, 0], abs=1e-12)
    assert soft_values(transitions, BETA, 0.0)[0] == pytest.approx(best, abs=0.02)
    assert monte_carlo_values(transitions, BETA)[0] == pytest.approx(best, abs=0.02)


def environment_variance(mdp: SoftMDP, policy_HSA: Floats) -> float:
    """Return the exact variance of returns that comes from the environment's moves, the start aside."""
    values = mdp.values_of(policy_HSA, 0.0)
    luck_HSAN = mdp.reward_SAN + values.value_TS[1:, None, None, :] - values.q_HSA[..., None]
    return float((mdp.visits(policy_HSA)[..., None] * policy_HSA * (mdp.moves_SAN * luck_HSAN**2).sum(-1)).sum())


@pytest.mark.parametrize("success_rate", REFERENCES)
def test_the_split_of_the_variance(success_rate: float) -> None:
    lake = mediocre_lake(success_rate)
    p = lake.values_of(lake.reference_HSA, 0.0).value_TS[0, 0]
    exact = environment_variance(lake, lake.reference_HSA) / (p * (1 - p))
    split = variance_split(played(lake, 2048, 1))
    assert split.environment_share == pytest.approx(exact, abs=0.05)
    chosen = recommend(split).estimator
    assert chosen is (StateEstimator.MONTE_CARLO if success_rate == 1.0 else StateEstimator.SOFT_VALUES)


def test_the_width_of_the_bracket_is_no_measure_of_chance() -> None:
    """On firm ice V^E exceeds the mean by far, and chance has no part in it."""
    transitions = played(mediocre_lake(1.0), 512, 0)
    mean, optimistic = monte_carlo_values(transitions, math.inf)[0], monte_carlo_values(transitions, BETA)[0]
    assert optimistic - mean > 0.3
    assert variance_split(transitions).environment == 0.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_soft_returns_have_the_mean_that_the_tracker_is_for(seed: int) -> None:
    """E[S_t | s_t] = V^pi_beta(s_t) by enumeration, S the rewards to go less beta times the log-ratios to go."""
    mdp = random_mdp(seed, terminal=seed == 2)
    policy_HSA, paths = random_policy(mdp, seed), mdp.trajectories()
    odds_B = paths.odds(policy_HSA)
    gain_BH = paths.reward_BH - mdp.beta * paths.taken(np.log(policy_HSA / mdp.reference_HSA))
    soft_BH = gain_BH[:, ::-1].cumsum(1)[:, ::-1]
    value_TS = mdp.values_of(policy_HSA, mdp.beta).value_TS
    visits_HS = mdp.visits(policy_HSA)
    for turn, state in np.argwhere(visits_HS > 0):
        here_B = (paths.states_BT[:, turn] == state) * odds_B
        assert here_B @ soft_BH[:, turn] / visits_HS[turn, state] == pytest.approx(value_TS[turn, state], abs=1e-12)
    assert (value_TS <= mdp.optimum().value_TS + 1e-12).all()


def test_the_tracker_tends_to_the_regularized_return_of_the_policy() -> None:
    mdp = random_mdp()
    policy_HSA = random_policy(mdp)
    paths = mdp.play(policy_HSA, 4000, np.random.default_rng(0))
    soft_B = (paths.reward_BH - mdp.beta * paths.taken(np.log(policy_HSA / mdp.reference_HSA))).sum(1)
    running = RunningMean(9.0, 2.0)
    for soft_return in soft_B:
        running.add(float(soft_return))
    assert running.value == pytest.approx(mdp.objective(policy_HSA), abs=0.05)
