"""Long multiplication: the steps, their rewards, and both orders of digits."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.multiplication_steps import MultiplicationStepsEnv, long_multiplication
from turngym.envs.testing import check_text_env, oracle_policy, play


def steps_env(a: int = 23, b: int = 47, **kwargs: Any) -> MultiplicationStepsEnv:
    """Return an environment that stands at the start of `a * b`."""
    env = MultiplicationStepsEnv(digits=(len(str(a)), len(str(b))), **kwargs)
    env.reset(seed=0)
    env.factors, env.steps = (a, b), long_multiplication(a, b)
    return env


def test_two_digits_by_hand() -> None:
    assert [tuple(step) for step in long_multiplication(23, 47)] == [(23, "*", 7), (23, "*", 40), (161, "+", 920)]


def test_three_digits_with_a_zero_by_hand() -> None:
    steps = long_multiplication(123, 405)
    assert [tuple(step) for step in steps] == [
        *((123, "*", 5), (123, "*", 0), (615, "+", 0)),
        *((123, "*", 400), (615, "+", 49_200)),
    ]
    assert [step.result for step in steps] == [615, 0, 615, 49_200, 49_815]


@given(st.integers(1, 99_999), st.integers(1, 99_999))
def test_steps_end_with_the_product(a: int, b: int) -> None:
    steps = long_multiplication(a, b)
    assert steps[-1].result == a * b
    assert len(steps) == 2 * len(str(b)) - 1


def test_every_right_step_is_rewarded() -> None:
    env = steps_env()
    seen = [env.step(action) for action in ("161", "920", "1081")]
    assert [observation for observation, *_ in seen] == [
        "Correct. Next: 23 * 40 = ?",
        "Correct. Next: 161 + 920 = ?",
        "Correct. 23 * 47 = 1081.",
    ]
    assert [reward for _, reward, *_ in seen] == pytest.approx([1 / 3] * 3)
    assert [terminated for _, _, terminated, *_ in seen] == [False, False, True]
    assert [info["potential"] for *_, info in seen] == pytest.approx([1 / 3, 2 / 3, 0.0])
    assert seen[-1][4]["success"]
    assert env.step("1081")[0].startswith("Invalid action: the game is over.")


def test_wrong_step_is_asked_again() -> None:
    env = steps_env()
    assert env.step("162")[:3] == ("Incorrect. Again: 23 * 7 = ?", 0.0, False)
    observation, reward, _, _, info = env.step("23 * 7 = 161")
    assert observation.startswith("Invalid action: write a whole number")
    assert (reward, info["valid"], info["state_key"]) == (0.0, False, "23*47|0|inf")
    assert env.step("161")[1] == pytest.approx(1 / 3)


def test_least_significant_digit_first() -> None:
    env = steps_env(digit_order="least_first")
    assert [env.step(action)[0] for action in ("161", "129", "029", "1801")] == [
        "Correct. Next: 32 * 04 = ?",
        "Incorrect. Again: 32 * 04 = ?",
        "Correct. Next: 161 + 029 = ?",
        "Correct. 32 * 74 = 1801.",
    ]


def test_least_significant_digit_first_refuses_needless_zeros() -> None:
    env = steps_env(digit_order="least_first")
    assert "without needless zeros" in env.step("1610")[0]


@pytest.mark.parametrize("digit_order", ["most_first", "least_first"])
@pytest.mark.parametrize("digits", [(1, 1), (2, 2), (3, 3), (5, 4)])
def test_all_forms_keep_the_contract(digit_order: str, digits: tuple[int, int]) -> None:
    limit = 2 * digits[1] + 1
    env = gym.make(
        "turngym/MultiplicationSteps-v0", digits=digits, digit_order=digit_order, max_episode_steps=limit
    )  # fmt: skip
    check_text_env(env, instances=3)
    episode = play(env, oracle_policy, split="test", index=11)
    assert len(episode) - 1 == 2 * digits[1] - 1
    assert sum(moment.reward for moment in episode) == pytest.approx(1.0)


def test_slips_are_wrong_answers_of_the_right_length() -> None:
    rng = np.random.default_rng(0)
    for order in ("most_first", "least_first"):
        env = steps_env(digit_order=order)
        for _ in range(50):
            slip = env.mistaken_action(rng)
            assert len(slip) == 3
            assert env.step(slip)[0].startswith("Incorrect.")


def test_random_success_is_that_of_the_random_agent() -> None:
    env = steps_env(2, 13)
    env.turn_limit = 150
    predicted = env.random_success()
    assert predicted is not None
    assert 0.1 < predicted < 0.9
    rng = np.random.default_rng(0)
    wins = []
    for _ in range(200):
        env.steps_done = 0
        wins.append(any(env.step(env.sample_action(rng))[4]["success"] for _ in range(150)))
    assert abs(np.mean(wins) - predicted) < 4 * np.sqrt(predicted * (1 - predicted) / 200)


def test_values_follow_the_limit_in_force() -> None:
    env: Any = gym.make("turngym/MultiplicationSteps-v0", max_episode_steps=2).unwrapped
    env.reset(seed=0)
    assert (env.optimal_success(), env.random_success()) == (0.0, 0.0)
    env = gym.make("turngym/MultiplicationSteps-v0", max_episode_steps=3).unwrapped
    env.reset(seed=0)
    env.factors, env.steps = (23, 47), long_multiplication(23, 47)
    assert env.optimal_success() == 1.0
    assert env.random_success() == pytest.approx(1 / 900 / 900 / 9000), "161, 920 and 1081, each at once"


def test_rules_state_the_configuration() -> None:
    env: Any = gym.make("turngym/MultiplicationSteps3x3-v0").unwrapped
    for phrase in ("digit length 3 by one of digit length 3", "There are 5 steps", "1/5", "You have 7 turns."):
        assert phrase in env.instructions
    assert "reversed" not in env.instructions
    reversed_env: Any = gym.make("turngym/MultiplicationSteps-v0", digit_order="least_first").unwrapped
    assert "12 stands for twenty-one" in reversed_env.instructions


def test_bad_order_is_refused() -> None:
    with pytest.raises(ValueError, match="digit_order must be one of 'most_first', 'least_first'"):
        MultiplicationStepsEnv(digit_order="random")  # type: ignore[arg-type]
