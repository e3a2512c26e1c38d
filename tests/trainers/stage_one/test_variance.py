"""Luck: what V* lies between, where the variance of returns comes from, and which estimator that speaks for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.exactness.estimators import binary_value

from turngym.trainers.stage_one.soft_values import read_transitions
from turngym.trainers.stage_one.store_rows import StoredTurn
from turngym.trainers.stage_one.variance import StateEstimator, VarianceSplit, bracket, recommend, variance_split


def episodes(rows: list[list[tuple[str, str, float]]]) -> list[StoredTurn]:
    """Return the turns of episodes from their states, actions and rewards."""
    return [StoredTurn(instance=0, sample=sample, turn=turn, state_key=f"{state}|{9 - turn}", action=action,
                       reward=reward, task_reward=0.0, valid=True, potential=0.0)
            for sample, row in enumerate(rows) for turn, (state, action, reward) in enumerate(row)]  # fmt: skip


def test_the_bracket_is_mean_and_log_mean_exp() -> None:
    lower, upper = bracket({7: [1.0, 0.0, 0.0, 0.0], 2: [0.5], 5: [1.0, 1.0]}, 0.1)
    assert lower == pytest.approx([0.5, 1.0, 0.25])
    assert upper == pytest.approx([0.5, 1.0, binary_value(0.25, 0.1)])


def test_in_a_deterministic_game_the_environment_has_no_share() -> None:
    """Every reply has one outcome: all of the variance is the policy's, however often its replies were given."""
    rows = [[("start", "left", 0.0), ("a", action, reward)]
            for action, reward in [("x", 1.0), ("y", 0.0), ("y", 0.0), ("x", 1.0)]]  # fmt: skip
    split = variance_split(read_transitions(episodes(rows)))
    assert split.returns == pytest.approx(1 / 3) and split.environment == 0.0
    assert (split.repeated, split.varied) == (3, 0)
    chosen = recommend(split)
    assert chosen.estimator is StateEstimator.MONTE_CARLO
    assert chosen.reason == "All 3 replies given more than once in a state had the same outcome each time."


def test_in_a_game_of_chance_the_environment_has_the_whole_share() -> None:
    rows = [[("start", "bet", reward)] for reward in (1.0, 0.0, 0.0, 1.0)]
    split = variance_split(read_transitions(episodes(rows)))
    assert (split.returns, split.environment_share) == pytest.approx((1 / 3, 1.0))
    assert (split.repeated, split.varied) == (1, 1) and split.spread_is_luck
    chosen = recommend(split)
    assert chosen.estimator is StateEstimator.SOFT_VALUES
    assert "Chance makes 100% of the variance" in chosen.reason and "1 of 1 replies" in chosen.reason


def test_an_outcome_that_makes_no_difference_is_no_luck() -> None:
    """A reply may lead to two states that are worth the same; what is chosen in them is the policy's."""
    rng = np.random.default_rng(0)
    rows = [[("start", "go", 0.0), (str(rng.choice(["a", "b"])), action, float(action == "x"))]
            for action in rng.choice(["x", "y"], size=4000).tolist()]  # fmt: skip
    split = variance_split(read_transitions(episodes(rows)))
    assert split.returns == pytest.approx(0.25, abs=1e-3)
    assert split.varied == 1 and split.environment_share < 0.005 and not split.spread_is_luck
    assert recommend(split).reason.startswith("Chance makes only 0.")


def test_a_coin_and_a_choice_share_the_variance() -> None:
    """A coin worth 1, then a choice worth 1/2: variances 1/4 and 1/16."""
    rng = np.random.default_rng(0)
    rows = [
        [("start", "flip", float(coin)), (f"coin {coin}", action, 0.5 * (action == "x"))]
        for coin, action in zip(rng.integers(2, size=4000), rng.choice(["x", "y"], size=4000), strict=True)
    ]
    split = variance_split(read_transitions(episodes(rows)))
    assert split.returns == pytest.approx(5 / 16, rel=0.05)
    assert split.environment_share == pytest.approx(0.8, abs=0.02)


def test_the_split_is_right_on_average_when_few_replies_were_repeated() -> None:
    """Six episodes at a time: coins worth 1 and choices worth 1, twice each, so half of the variance of 1 is luck."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(600):
        rows = []
        for _ in range(6):
            coins, choices = rng.integers(2, size=2), rng.integers(2, size=2)
            rows.append([("start", str(choices[0]), float(choices[0] + coins[0])),
                         (f"{choices[0]}{coins[0]}", str(choices[1]), float(choices[1] + coins[1]))])  # fmt: skip
        split = variance_split(read_transitions(episodes(rows)))
        found.append((split.returns, split.environment))
    assert np.mean(found, axis=0) == pytest.approx([1.0, 0.5], abs=0.05)


@pytest.mark.parametrize(
    ("split", "estimator", "reason"),
    [
        (VarianceSplit(returns=0.2, environment=0.0, repeated=0, varied=0), StateEstimator.MONTE_CARLO,
         "No reply was given twice in the same state"),
        (VarianceSplit(returns=math.nan, environment=0.0, repeated=0, varied=0), StateEstimator.MONTE_CARLO,
         "No reply was given twice in the same state"),
        (VarianceSplit(returns=0.0, environment=0.0, repeated=5, varied=2), StateEstimator.MONTE_CARLO, "do not vary"),
        (VarianceSplit(returns=0.2, environment=0.001, repeated=9, varied=2), StateEstimator.MONTE_CARLO, "only 0.50%"),
        (VarianceSplit(returns=0.2, environment=0.05, repeated=9, varied=2), StateEstimator.SOFT_VALUES,
         "Chance makes 25% of the variance of returns"),
        (VarianceSplit(returns=math.nan, environment=0.0, repeated=5, varied=0), StateEstimator.MONTE_CARLO,
         "All 5 replies"),
        (VarianceSplit(returns=math.nan, environment=0.1, repeated=9, varied=2), StateEstimator.SOFT_VALUES,
         "2 of 9 replies given more than once in a state had various outcomes. How much"),
    ],
)  # fmt: skip
def test_recommendations(split: VarianceSplit, estimator: StateEstimator, reason: str) -> None:
    chosen = recommend(split)
    assert chosen.estimator is estimator
    assert reason in chosen.reason


def test_a_single_episode_gives_no_split() -> None:
    split = variance_split(read_transitions(episodes([[("start", "go", 1.0), ("next", "go", 0.0)]])))
    assert math.isnan(split.returns) and (split.environment, split.repeated, split.varied) == (0.0, 0, 0)
    assert split.environment_share == 0.0


def test_chance_seen_where_no_start_was_played_twice() -> None:
    """Two instances meet in a state, and one reply has two outcomes: chance is there, its share in returns unknown."""
    rows = [[("first", "go", 0.0), ("shared", "bet", 1.0)], [("second", "go", 0.0), ("shared", "bet", 0.0)]]
    split = variance_split(read_transitions(episodes(rows)))
    assert math.isnan(split.returns) and (split.repeated, split.varied) == (1, 1)
    chosen = recommend(split)
    assert chosen.estimator is StateEstimator.SOFT_VALUES and "no start was played twice" in chosen.reason
    assert split.of_spread == "not measured, since no start was played twice."


def test_what_luck_means_for_filters() -> None:
    shares = {0.15: "not to be trusted, most of the spread is luck.", 0.05: "most of it is choice."}
    for environment, text in shares.items():
        assert VarianceSplit(returns=0.2, environment=environment, repeated=9, varied=2).of_spread == text
