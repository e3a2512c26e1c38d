"""Values of states from stored turns: what is read, what soft value iteration and Monte Carlo make of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exactness.estimators import binary_value

from turngym.trainers.stage_one.estimators import log_mean_exp
from turngym.trainers.stage_one.soft_values import (
    END,
    Transitions,
    monte_carlo_values,
    played_action,
    read_transitions,
    soft_values,
)
from turngym.trainers.stage_one.store_rows import StoredTurn
from turngym.trainers.stage_one.variance import variance_split


def episode(
    sample: int, *steps: tuple[str, str, float], instance: int = 0, limit: int = 3, valid: bool = True
) -> list[StoredTurn]:
    """Return the turns of an episode from its states, actions and rewards."""
    return [StoredTurn(instance=instance, sample=sample, turn=turn, state_key=f"{state}|{limit - turn}", action=action,
                       reward=reward, task_reward=0.0, valid=valid, potential=0.0)
            for turn, (state, action, reward) in enumerate(steps)]  # fmt: skip


GAMBLE = [
    *episode(0, ("start", "bet", 0.0), ("table", "stay", 1.0)),
    *episode(1, ("start", "bet", 0.0), ("street", "walk", 0.0), ("home", "sleep", 0.0)),
    *episode(2, ("start", "bet", 0.0), ("table", "stay", 0.0)),
    *episode(3, ("start", "save", 0.25)),
]
"""Bets that end in two states, a win and a loss in one of them, and one saver."""


def test_turns_become_arrays() -> None:
    transitions = read_transitions(GAMBLE)
    assert transitions.keys == ["start|3", "table|2", "street|2", "home|1"]
    assert transitions.turn_S.tolist() == [0, 1, 1, 2]
    assert transitions.state_M.tolist() == [0, 1, 0, 2, 3, 0, 1, 0]
    assert transitions.next_M.tolist() == [1, END, 2, 3, END, 1, END, END]
    assert transitions.pair_M.tolist() == [0, 1, 0, 2, 3, 0, 1, 4]
    assert transitions.pair_state_P.tolist() == [0, 1, 2, 3, 0]
    assert transitions.reward_M.tolist() == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]
    assert transitions.to_go_M.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]
    assert transitions.visits.tolist() == [4, 2, 1, 1]
    assert transitions.starts.tolist() == [0]
    assert transitions.followed_by(np.array([9.0, 2.0, 3.0, 4.0])).tolist() == [2.0, 1.0, 3.0, 4.0, 0.0, 2.0, 0.0, 0.25]


def test_the_mean_is_inside_and_the_soft_maximum_outside() -> None:
    beta, transitions = 0.2, read_transitions(GAMBLE)
    bet = (0.5 + 0.0 + 0.5) / 3  # the table is worth 0.5, by luck alone
    assert soft_values(transitions, beta, 0.0) == pytest.approx([log_mean_exp([bet, bet, bet, 0.25], beta), 0.5, 0, 0])
    optimistic = monte_carlo_values(transitions, beta)
    assert optimistic == pytest.approx([log_mean_exp([1, 0, 0, 0.25], beta), binary_value(0.5, beta), 0, 0])
    assert optimistic[0] > soft_values(transitions, beta, 0.0)[0] + 0.3
    assert monte_carlo_values(transitions, math.inf) == pytest.approx([1.25 / 4, 0.5, 0, 0])


def test_shrinkage_by_hand_and_in_the_limit() -> None:
    beta, kappa, transitions = 0.2, 2.0, read_transitions(GAMBLE)
    # The second turn has one potential: a bucket of two rewards of the table and one of the street.
    table, street = (1 + kappa / 3) / (2 + kappa), (kappa / 3) / (1 + kappa)
    table, street = (1 + kappa * table) / (2 + kappa), kappa * street / (1 + kappa)
    bet, mean = (2 * table + street) / 3, (2 * table + street + 0.25) / 4
    bet, save = (3 * bet + kappa * mean) / (3 + kappa), (0.25 + kappa * mean) / (1 + kappa)
    start = log_mean_exp([bet, bet, bet, save], beta)
    assert soft_values(transitions, beta, kappa) == pytest.approx([start, table, street, 0.0])
    assert soft_values(transitions, beta, 1e12) == pytest.approx([1.25 / 4, 1 / 3, 1 / 3, 0.0])


def test_states_of_one_turn_and_potential_share_pseudo_visits() -> None:
    """Each was seen once: a state's mean is (own + kappa * bucket) / (1 + kappa), and that of its one pair likewise."""
    kappa, rewards, potentials = 2.0, [1.0, 0.0, 0.0, 0.5], [0.25, 0.251, 0.25, 0.5]
    turns = [replace(turn, instance=place, state_key=f"{place}|3", potential=potentials[place])
             for place, reward in enumerate(rewards) for turn in episode(0, ("s", "go", reward))]  # fmt: skip
    bucket = np.array([1 / 3, 1 / 3, 1 / 3, 0.5])
    pooled = (np.array(rewards) + kappa * bucket) / (1 + kappa)
    assert soft_values(read_transitions(turns), 0.2, kappa) == pytest.approx(
        (np.array(rewards) + kappa * pooled) / (1 + kappa)
    )
    assert soft_values(read_transitions(turns), 0.2, 0.0) == pytest.approx(rewards)
    heavier = [*turns, *explorer(episode(0, ("s", "go", 1.0)), math.log(0.25))]
    heavier[-1] = replace(heavier[-1], instance=1, state_key="1|3", potential=0.25)
    found = read_transitions(heavier)
    assert soft_values(found, 0.2, 1e9)[0] == pytest.approx(
        np.average([1.0, 0.0, 0.0, 1.0], weights=[1, 1, 1, found.weight_M[-1]])
    )


def explorer(turns: list[StoredTurn], log_ratio: float) -> list[StoredTurn]:
    """Return the turns as those of an explorer whose replies all weigh the same."""
    return [replace(turn, behaviour="temperature 2.0", log_ratio=log_ratio) for turn in turns]


def test_an_explorer_adds_to_what_follows_and_by_its_weight_to_the_odds() -> None:
    beta = 0.2
    turns = [*episode(0, ("s", "bet", 1.0)), *episode(1, ("s", "save", 0.25)),
             *explorer([*episode(0, ("s", "bet", 0.0)), *episode(1, ("s", "bet", 0.0))], math.log(0.25))]  # fmt: skip
    transitions = read_transitions(turns)
    assert transitions.own_M.tolist() == [True, True, False, False]
    assert transitions.weight_M == pytest.approx([1.0, 1.0, 0.25, 0.25])
    bet, odds = 1 / 3, 1.5 / 2.5  # three outcomes of one worth; the reference's share of bets is weighed
    expected = beta * math.log(odds * math.exp(bet / beta) + (1 - odds) * math.exp(0.25 / beta))
    assert soft_values(transitions, beta, 0.0) == pytest.approx([expected])
    assert soft_values(transitions, beta, 1e12) == pytest.approx([1.25 / 2.5])
    assert monte_carlo_values(transitions, math.inf) == pytest.approx([1.25 / 2])
    assert transitions.of_reference().visits.tolist() == [2] and transitions.visits.tolist() == [4]


@pytest.mark.parametrize("beta", [0.0, 1e-4, 0.5])
def test_a_reply_that_the_reference_cannot_give_is_left_out(beta: float) -> None:
    turns = [*episode(0, ("s", "bet", 0.25)), *explorer(episode(0, ("s", "shout", 1.0)), -5000.0)]
    assert soft_values(read_transitions(turns), beta, 0.0) == pytest.approx([0.25])


def test_a_state_reached_in_two_ways_is_worth_the_same_after_both() -> None:
    turns = [
        *episode(0, ("start", "left", 0.0), ("middle", "go", 1.0)),
        *episode(1, ("start", "right", 0.0), ("middle", "stop", 0.0)),
    ]
    values = soft_values(read_transitions(turns), 0.3, 0.0)
    assert values == pytest.approx([binary_value(0.5, 0.3)] * 2)


@pytest.mark.parametrize("beta", [0.0, 1e-300, 1e-6, 0.5, 1e6, math.inf])
def test_values_are_finite_and_ordered_at_every_temperature(beta: float) -> None:
    transitions = read_transitions(GAMBLE)
    mean, optimistic = monte_carlo_values(transitions, math.inf), monte_carlo_values(transitions, beta)
    values = soft_values(transitions, beta, 0.0)
    assert (mean - 1e-12 <= values).all() and (values <= optimistic + 1e-12).all()
    assert (np.abs(soft_values(transitions, beta, 1.0) - 0.5) <= 0.5).all()


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2), st.floats(-1, 1)), min_size=1, max_size=20),
       st.floats(0.01, 10.0))  # fmt: skip
def test_where_nothing_is_tried_twice_the_plain_estimate_is_that_of_monte_carlo(
    drawn: list[tuple[int, int, float]], beta: float
) -> None:
    turns: list[StoredTurn] = []
    for sample, (branch, length, reward) in enumerate(drawn):
        steps = [("start", f"{branch}, {sample}", 0.0)]
        steps += [(f"alone {sample}", "on", 0.1)] * length
        turns += episode(sample, *steps, (f"end {sample}", "stop", reward), limit=9)
    transitions = read_transitions(turns)
    np.testing.assert_allclose(soft_values(transitions, beta, 0.0), monte_carlo_values(transitions, beta), atol=1e-12)


def test_instances_do_not_touch_each_other_without_pseudo_visits() -> None:
    other = [*episode(0, ("elsewhere", "on", 1.0), instance=1), *episode(1, ("elsewhere", "on", 0.0), instance=1)]
    both, alone = read_transitions([*GAMBLE, *other]), read_transitions(GAMBLE)
    assert soft_values(both, 0.2, 0.0)[:4].tolist() == soft_values(alone, 0.2, 0.0).tolist()
    assert soft_values(both, 0.2, 0.0)[4] == 0.5
    assert both.starts.tolist() == [0, 4]


def test_unusable_replies_are_one_action() -> None:
    steps = [("s", "  Left ", 0.0)]
    assert played_action(episode(0, *steps)[0]) == "Left"
    assert played_action(episode(0, *steps, valid=False)[0]) == ""
    nonsense = [turn for i in range(4) for turn in episode(i, ("s", f"nonsense {i}", -0.5), valid=False)]
    assert len(read_transitions(nonsense).pair_state_P) == 1
    assert soft_values(read_transitions(nonsense), 0.1, 0.0) == pytest.approx([-0.5])


def test_unusable_replies_with_penalties_of_their_own_are_no_luck() -> None:
    """What an unusable reply costs hangs on its kind, which is the agent's choice."""
    turns = [turn for i, cost in enumerate((0.0, 0.3, 0.0)) for turn in episode(i, ("s", "no", -cost), valid=False)]
    transitions, beta = read_transitions(turns), 0.1
    assert transitions.pair_M.tolist() == [0, 1, 0]
    assert soft_values(transitions, beta, 0.0) == pytest.approx([log_mean_exp(transitions.reward_M, beta)])
    assert variance_split(transitions).environment == 0.0


def test_thoughts_are_no_part_of_an_action() -> None:
    turns = [turn for i in range(3) for turn in episode(i, ("s", f"I think {i}... <answer> left </answer>", float(i)))]
    assert len(read_transitions(turns, reasoning=True).pair_state_P) == 1
    assert len(read_transitions(turns).pair_state_P) == 3
    assert soft_values(read_transitions(turns, reasoning=True), 0.1, 0.0) == pytest.approx([1.0])
    with pytest.raises(ValueError, match="exactly one <answer>"):
        read_transitions(GAMBLE, reasoning=True)


def test_unusable_turns_are_refused() -> None:
    with pytest.raises(ValueError, match="no stored turns"):
        read_transitions([])
    with pytest.raises(ValueError, match=r"'s\|inf' occurs at turn 0 and at turn 1: its key must hold the turns left"):
        read_transitions([replace(turn, state_key="s|inf") for turn in episode(0, ("s", "a", 0.0), ("s", "a", 0.0))])
    whole = episode(0, ("s", "a", 0.0), ("t", "a", 0.0), ("u", "a", 0.0))
    for broken in (whole[1:], [whole[0], whole[2]], [whole[1], whole[0]]):
        with pytest.raises(ValueError, match="not whole episodes in order"):
            read_transitions(broken)


def test_unusable_arguments_are_refused() -> None:
    transitions: Transitions = read_transitions(GAMBLE)
    for strength in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="strength must be at least 0"):
            soft_values(transitions, 0.5, strength)
    for compute in (
        lambda beta: soft_values(transitions, beta, 1.0),
        lambda beta: monte_carlo_values(transitions, beta),
    ):
        with pytest.raises(ValueError, match="beta must be at least 0"):
            compute(-1.0)
