"""Explorers against exact values: weighed, they lead to V* of the reference; mixed in, to that of another policy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.exactness.soft_mdp import Floats, SoftMDP, at_temperature, frozen_lake, random_mdp
from tests.exactness.test_state_values import mediocre_lake

from turngym.trainers.stage_one.soft_values import Transitions, monte_carlo_values, read_transitions, soft_values
from turngym.trainers.stage_one.variance import variance_split


def played(mdp: SoftMDP, own: int, explored: dict[float, int], seed: int, *, weighed: bool = True) -> Transitions:
    """Return episodes of the reference and of its explorers by temperature; unweighed, as if all were its own."""
    rng = np.random.default_rng(seed)
    turns = mdp.play(mdp.reference_HSA, own, rng).stored_turns()
    for temperature, episodes in explored.items():
        policy_HSA = at_temperature(mdp.reference_HSA, temperature)
        paths = mdp.play(policy_HSA, episodes, rng)
        log_ratio_HSA = np.log(mdp.reference_HSA / policy_HSA)
        turns += paths.stored_turns(f"temperature {temperature}", log_ratio_HSA) if weighed else paths.stored_turns()
    return read_transitions(turns)


def start_values(mdp: SoftMDP, own: int, explored: dict[float, int], *, runs: int, strength: float,
                 weighed: bool = True) -> Floats:  # fmt: skip
    found = [played(mdp, own, explored, seed, weighed=weighed) for seed in range(runs)]
    return np.array([soft_values(transitions, mdp.beta, strength)[0] for transitions in found])


def mixture_value(mdp: SoftMDP, own: int, explored: dict[float, int]) -> float:
    """Return V* of the policy that the mixed episodes show, which is what mixing them estimates."""
    policies = [mdp.reference_HSA, *(at_temperature(mdp.reference_HSA, temperature) for temperature in explored)]
    shares = zip(policies, (own, *explored.values()), strict=True)
    visits_HSA = np.sum([count * mdp.visits(policy)[..., None] * policy for policy, count in shares], axis=0)
    total_HS1 = visits_HSA.sum(-1, keepdims=True)
    mixture_HSA = np.where(total_HS1 > 0, visits_HSA / np.maximum(total_HS1, 1e-300), mdp.reference_HSA)
    return float(replace(mdp, reference_HSA=mixture_HSA).optimum().value_TS[0, 0])


LAKE = mediocre_lake(0.8)
SMALL = replace(random_mdp(turns=3), start_S=np.array([1.0, 0.0, 0.0]))
"""Chance in both."""


@pytest.mark.parametrize(("mdp", "explored"), [(LAKE, {2.0: 1536}), (SMALL, {3.0: 1536}), (LAKE, {2.0: 768, 0.7: 768})])
def test_pooled_exploration_tends_to_the_value_of_the_reference(mdp: SoftMDP, explored: dict[float, int]) -> None:
    best = mdp.optimum().value_TS[0, 0]
    assert abs(start_values(mdp, 512, explored, runs=5, strength=1.0).mean() - best) < 0.02


@pytest.mark.parametrize(("mdp", "explored"), [(LAKE, {2.0: 1536}), (SMALL, {3.0: 1536})])
def test_explorers_without_weights_lead_elsewhere(mdp: SoftMDP, explored: dict[float, int]) -> None:
    best, elsewhere = mdp.optimum().value_TS[0, 0], mixture_value(mdp, 512, explored)
    mixed = start_values(mdp, 512, explored, runs=5, strength=1.0, weighed=False).mean()
    assert abs(elsewhere - best) > 0.04
    assert mixed == pytest.approx(elsewhere, abs=0.02)


def test_states_that_only_explorers_reached_have_the_value_of_the_reference() -> None:
    """Without a single episode of the reference the values are still its own."""
    best_TS = SMALL.optimum().value_TS
    transitions = played(SMALL, 0, {3.0: 6000}, 0)
    exact = [best_TS[3 - int(left), int(state)] for state, left in (key.split("|") for key in transitions.keys)]
    np.testing.assert_allclose(soft_values(transitions, SMALL.beta, 0.0), exact, atol=0.08)
    assert np.isnan(monte_carlo_values(transitions, SMALL.beta)).all()


def test_what_depends_on_who_plays_on_reads_the_reference_alone() -> None:
    alone, pooled = played(LAKE, 64, {}, 0), played(LAKE, 64, {2.0: 64}, 0)
    assert len(pooled.keys) > len(alone.keys)
    expected = dict(zip(alone.keys, monte_carlo_values(alone, LAKE.beta), strict=True))
    for key, value in zip(pooled.keys, monte_carlo_values(pooled, LAKE.beta), strict=True):
        assert value == expected[key] if key in expected else np.isnan(value)
    assert variance_split(pooled) == variance_split(alone)


def sparse_lake() -> SoftMDP:
    """Return the firm lake under a reference that mostly walks left and wins 3 episodes of 2,000."""
    lake = frozen_lake(1.0, 0.1)
    return replace(lake, reference_HSA=np.broadcast_to([0.55, 0.15, 0.15, 0.15], lake.reference_HSA.shape).copy())


def test_explorers_find_the_sparse_reward() -> None:
    """The error of 64 episodes, of as many more, and of explorers in place of these."""
    lake = sparse_lake()
    best = lake.optimum().value_TS[0, 0]
    assert lake.values_of(lake.reference_HSA, 0.0).value_TS[0, 0] < 0.002 and best > 0.3

    def error(own: int, explored: dict[float, int]) -> float:
        return float(np.sqrt(((start_values(lake, own, explored, runs=20, strength=0.0) - best) ** 2).mean()))

    few, more, explorers = error(64, {}), error(192, {}), error(64, {3.0: 128})
    assert explorers < 0.75 * few and explorers < 0.85 * more
