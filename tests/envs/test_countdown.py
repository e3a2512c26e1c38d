"""Countdown in one expression: feedback, grades and what play is worth."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.envs.arithmetic import evaluate
from turngym.envs.countdown import CountdownEnv
from turngym.envs.countdown_puzzles import Puzzle
from turngym.envs.countdown_solver import multiset
from turngym.envs.testing import check_text_env, play, random_policy


def countdown(numbers: tuple[int, ...] = (3, 7, 9), target: int = 30, **kwargs: Any) -> CountdownEnv:
    """Return an environment that stands at the start of this puzzle."""
    env = CountdownEnv(num_numbers=len(numbers), **kwargs)
    env.reset(seed=0)
    env.puzzle = Puzzle(multiset(numbers), multiset((target,))[0])
    return env


def test_attempts_are_answered_until_one_is_right() -> None:
    env = countdown()
    task = "Target: 30. Numbers: 3 7 9."
    assert env.step("3 + 7 + 9")[:3] == (f"That makes 19, 11 away from 30.\n{task}", 0.0, False)
    assert env.step("9 / 7 - 3")[:3] == (f"That makes -12/7, 222/7 away from 30.\n{task}", 0.0, False)
    assert env.step("(9)+3*7")[:3] == (f"That makes 30, the target.\n{task}", 1.0, True)
    assert env.step("9 + 3 * 7")[0].startswith("Invalid action: the game is over.")


@pytest.mark.parametrize("action", ["30", "3 * 10", "3 + 7", "3 * 7 + 9 + 3 - 3", "9 + 21", "3 * 9 + 3", "7 * 3 + 09"])
@pytest.mark.parametrize("scheme", ["binary", "graded"])
def test_other_numbers_never_solve(action: str, scheme: str) -> None:
    env = countdown(reward_scheme=scheme)
    observation, reward, terminated, _, info = env.step(action)
    assert reward < 0.5
    assert not terminated
    assert not info["success"]
    assert info["potential"] == 0.0
    assert "exactly once" in observation or "leading zeros" in observation


def test_refusals_do_not_touch_the_state() -> None:
    env = countdown(reward_scheme="graded")
    env.step("3 + 7 + 9")
    state = env.step("9 / (7 - 7)")[4]["state_key"]
    observation, reward, terminated, _, info = env.step("9**9**9")
    assert observation.startswith("Invalid action: a number or ( must stand where * is.")
    assert (reward, terminated, info["valid"], info["state_key"]) == (0.0, False, False, state)


@pytest.mark.parametrize(
    ("action", "grade"),
    [
        ("9 + 3 * 7", 1.0),
        ("9 * 3 + 7", 0.5 + 0.6 / 5),  # 34, 4 away
        ("3 + 7 + 9", 0.5 + 0.6 / 12),
        ("9 - 7 / 3", 0.5 + 0.6 / (1 + 30 - 20 / 3)),
        ("3 + 7", 0.2 + 0.2 * 2 / 3),  # one operator too few
        ("3 * 7 + 8", 0.2 + 0.2 * 2 / 3 + 0.1),
        ("3 * 7 + 9 + 9", 0.2 + 0.2 * 3 / 4),  # four used, three of them rightly
        ("5 + 5 + 5", 0.3),
        ("30", 0.2),
        ("30 +", 0.0),
    ],
)
def test_grades_by_hand(action: str, grade: float) -> None:
    assert countdown(reward_scheme="graded").step(action)[1] == pytest.approx(grade)


def test_nothing_but_the_target_is_graded_one() -> None:
    env = countdown((3, 4, 13), 4, reward_scheme="graded")
    assert env.step("(13 - 3 / 4) / 1 ")[1] < 0.5  # a number too many
    assert env.step("13 / 4 + 3 - 2")[1] == 0.0  # no better
    assert env.step("13 / 3 * 4")[1] > 0.0
    near = countdown((7, 8, 15), 1, reward_scheme="graded")
    assert near.step("8 / 7 * 15")[1] == pytest.approx(0.5 + 0.6 / (1 + 120 / 7 - 1))
    assert countdown((1, 7, 8), 1, reward_scheme="graded").step("8 / 7 * 1")[1] == 0.9, "1/7 away would be 1.025"


def test_graded_rewards_are_improvements() -> None:
    env = countdown(reward_scheme="graded")
    rewards = [env.step(action)[1] for action in ("3 + 7", "5 + 5 + 5", "9 * 3 + 7", "3 + 7 + 9", "9 + 3 * 7")]
    first, best = 0.2 + 0.2 * 2 / 3, 0.5 + 0.6 / 5
    assert rewards == pytest.approx([first, 0.0, best - first, 0.0, 1.0 - best])
    assert sum(rewards) == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet="379+-*/() ", min_size=1, max_size=12), max_size=8))
def test_graded_return_is_in_range(actions: list[str]) -> None:
    env = countdown(reward_scheme="graded")
    rewards = [env.step(action)[1] for action in actions]
    assert all(reward >= 0 for reward in rewards)
    assert sum(rewards) <= 1 + 1e-9
    assert (sum(rewards) > 0.9 + 1e-9) == env.step("1")[4]["success"]


def test_potential_is_the_closeness_of_the_best_attempt() -> None:
    env = countdown()
    assert env.step("3 + 7 + 9")[4]["potential"] == pytest.approx(1 / 12)
    assert env.step("9 * 3 + 7")[4]["potential"] == pytest.approx(1 / 5)
    assert env.step("9 * 7 * 3")[4]["potential"] == pytest.approx(1 / 5)


@pytest.mark.parametrize("num_numbers", [3, 4, 5, 6])
def test_random_agent_writes_usable_expressions(num_numbers: int) -> None:
    env = CountdownEnv(num_numbers=num_numbers)
    rng = np.random.default_rng(0)
    for index in range(10):
        env.reset(options={"index": index})
        assert sorted(evaluate(env.sample_action(rng)).numbers) == list(env.puzzle.numbers)


def test_random_success_is_that_of_the_random_agent() -> None:
    env = gym.make("turngym/Countdown-v0")
    env.reset(options={"index": 3})
    predicted = env.unwrapped.random_success()  # type: ignore[attr-defined]
    played = [play(env, random_policy(seed), seed=seed, index=3)[-1].info["success"] for seed in range(600)]
    assert abs(np.mean(played) - predicted) < 4 * np.sqrt(predicted * (1 - predicted) / 600)


def test_rules_state_the_configuration() -> None:
    env: Any = gym.make("turngym/Countdown4-v0", reward_scheme="graded").unwrapped
    for phrase in ("the 4 numbers", "0.1 for using 3 operators", "0.6 / (1 + distance)", "You have 5 turns."):
        assert phrase in env.instructions
    assert "earns 1, anything else 0" in gym.make("turngym/Countdown-v0").unwrapped.instructions  # type: ignore[attr-defined]


def test_variants_keep_the_contract() -> None:
    check_text_env(gym.make("turngym/Countdown-v0", reward_scheme="graded", reasoning=True), instances=3)
    check_text_env(gym.make("turngym/Countdown-v0", num_numbers=6, number_range=(1, 100)), instances=2)


def test_bad_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="reward_scheme must be one of 'binary', 'graded'"):
        CountdownEnv(reward_scheme="generous")  # type: ignore[arg-type]
