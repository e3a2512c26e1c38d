"""Explorers against exact values: weighed, they lead to V* of the reference; mixed in, to that of another policy.

Scripts, which have no probabilities, make outcomes better known and leave the odds of the replies as they are.
"""

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


# Scripts ----------------------------------------------------------------------------------------------------------


def scripted(mdp: SoftMDP, own: int, script: int, seed: int, log_ratio: float = -np.inf) -> Transitions:
    """Return episodes of the reference, and of a script that takes the best action of the optimum in every state.

    Args:
        mdp: The process.
        own: Episodes of the reference.
        script: Episodes of the script.
        seed: Of both.
        log_ratio: What its turns are stored with; 0 as if it were the reference.
    """
    rng = np.random.default_rng(seed)
    turns = mdp.play(mdp.reference_HSA, own, rng).stored_turns()
    best_HSA = np.eye(mdp.reference_HSA.shape[-1])[mdp.optimum().q_HSA.argmax(-1)]
    turns += mdp.play(best_HSA, script, rng).stored_turns("agent best", np.full(best_HSA.shape, log_ratio))
    return read_transitions(turns)


def scripted_values(mdp: SoftMDP, own: int, script: int, *, runs: int, log_ratio: float = -np.inf) -> Floats:
    found = [scripted(mdp, own, script, seed, log_ratio) for seed in range(runs)]
    return np.array([soft_values(transitions, mdp.beta, 1.0)[0] for transitions in found])


@pytest.mark.parametrize("mdp", [LAKE, SMALL])
def test_a_script_leaves_the_value_that_of_the_reference(mdp: SoftMDP) -> None:
    """However much the script plays; taken for the reference, it would be taken for the reference's skill."""
    best = mdp.optimum().value_TS[0, 0]
    assert abs(scripted_values(mdp, 512, 2048, runs=5).mean() - best) < 0.02
    assert scripted_values(mdp, 512, 2048, runs=5, log_ratio=0.0).mean() > best + 0.05


def test_a_script_changes_no_odds() -> None:
    alone, both = scripted(LAKE, 64, 0, 0), scripted(LAKE, 64, 256, 0)
    kept = len(alone.state_M)
    assert both.own_M[:kept].all() and not both.own_M[kept:].any() and len(both.state_M) > kept
    assert both.weight_M[:kept].tolist() == alone.weight_M.tolist() and not both.weight_M[kept:].any()
    assert both.visits[: len(alone.keys)].tolist() == alone.visits.tolist() and not both.visits[len(alone.keys) :].any()


def test_states_that_scripts_alone_have_reached_have_no_value() -> None:
    both = scripted(LAKE, 16, 512, 0)
    known_S = both.visits > 0
    for strength in (0.0, 1.0):
        values_S = soft_values(both, LAKE.beta, strength)
        assert (~np.isnan(values_S) == known_S).all() and not known_S.all()
    assert np.isnan(soft_values(scripted(SMALL, 0, 32, 0), SMALL.beta, 1.0)).all()


def test_a_script_lowers_the_error_where_chance_decides() -> None:
    """Of 48 episodes of the reference, with and without four times as many of the script."""
    best = LAKE.optimum().value_TS[0, 0]

    def error(script: int) -> float:
        return float(np.sqrt(((scripted_values(LAKE, 48, script, runs=24) - best) ** 2).mean()))

    assert error(192) < 0.9 * error(0)


def test_without_chance_a_script_adds_nothing() -> None:
    """What follows a reply is known from the reference's own turn, and the odds are its own."""
    lake = mediocre_lake(1.0)
    alone, both = scripted(lake, 128, 0, 0), scripted(lake, 128, 512, 0)
    values_S = soft_values(both, lake.beta, 0.0)[: len(alone.keys)]
    np.testing.assert_allclose(values_S, soft_values(alone, lake.beta, 0.0), atol=1e-12)
