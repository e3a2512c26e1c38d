"""Countdown step by step: what is said, what is refused, when it ends, and what play is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from turngym.envs.countdown import CountdownEnv
from turngym.envs.countdown_puzzles import Puzzle
from turngym.envs.countdown_solver import legal_steps, multiset, random_play_success
from turngym.envs.countdown_steps import CountdownStepsEnv
from turngym.envs.testing import check_text_env, oracle_policy, play, random_policy


def steps_env(numbers: tuple[int, ...] = (3, 7, 9), target: int = 30, **kwargs: Any) -> CountdownStepsEnv:
    """Return an environment that stands at the start of this puzzle."""
    env = CountdownStepsEnv(num_numbers=len(numbers), **kwargs)
    env.reset(seed=0)
    env.puzzle = Puzzle(multiset(numbers), multiset((target,))[0])
    env.numbers = env.puzzle.numbers
    return env


def say(env: Any, *actions: str) -> list[tuple[str, float, bool]]:
    """Play actions and return observation, reward and end of each."""
    return [(observation, reward, ended) for observation, reward, ended, _, _ in map(env.step, actions)]


def test_solved_puzzle() -> None:
    env = steps_env()
    assert say(env, "3 * 7", "9 + 21") == [
        ("That gives 21.\nTarget: 30. Numbers: 9 21. Attempts left: 3.", 0.0, False),
        ("9 + 21 = 30. Solved.\nTarget: 30. Numbers: 30. Attempts left: 3.", 1.0, True),
    ]


def test_failed_attempts_start_again_and_run_out() -> None:
    env = steps_env(attempts=2)
    assert say(env, "7 - 9", "-2 - 3", "3 / 9", "7 + 1/3") == [
        ("That gives -2.\nTarget: 30. Numbers: -2 3. Attempts left: 2.", 0.0, False),
        ("That makes -5, 35 away.\nTarget: 30. Numbers: 3 7 9. Attempts left: 1.", 0.0, False),
        ("That gives 1/3.\nTarget: 30. Numbers: 1/3 7. Attempts left: 1.", 0.0, False),
        ("That makes 22/3, 68/3 away.\nTarget: 30. Numbers: 3 7 9. Attempts left: 0.", 0.0, True),
    ]
    assert say(env, "3 * 7")[0][0].startswith("Invalid action: the game is over.")


def test_target_on_the_way_does_not_count() -> None:
    env = steps_env((3, 7, 9), 21)
    observation, reward, ended = say(env, "3 * 7")[0]
    assert (reward, ended) == (0.0, False)
    assert "Solved" not in observation


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("3*7", "single spaces"),
        ("3  * 7", "single spaces"),
        ("3 * 7 * 9", "single spaces"),
        ("3 ** 7", "single spaces"),
        ("3 x 7", "single spaces"),
        ("3\n*\n7", "single spaces"),
        ("3 \u00d7 7", "single spaces"),
        ("* 3 7", "single spaces"),
        ("3 * 8", "use two of the numbers 3 7 9"),
        ("3 * 3", "use two of the numbers 3 7 9"),
        ("03 * 7", "use two of the numbers"),
        ("+3 * 7", "use two of the numbers"),
        ("3.0 * 7", "use two of the numbers"),
        ("6/2 * 7", "use two of the numbers"),
        ("\uff13 * 7", "use two of the numbers"),
    ],
)
def test_refusals_cost_the_turn_and_nothing_else(action: str, reason: str) -> None:
    env = steps_env()
    observation, reward, terminated, _, info = env.step(action)
    assert observation.startswith("Invalid action: ")
    assert reason in observation
    assert observation.endswith("Target: 30. Numbers: 3 7 9. Attempts left: 3.")
    assert (reward, terminated, info["valid"]) == (0.0, False, False)


def test_equal_numbers_can_be_used_together() -> None:
    env = steps_env((4, 4, 9), 25)
    assert say(env, "4 * 4", "9 + 16")[-1][1] == 1.0


def test_division_by_zero_is_refused() -> None:
    env = steps_env((4, 4, 9), 9)
    env.step("4 - 4")
    observation, _, _, _, info = env.step("9 / 0")
    assert "division by zero" in observation
    assert not info["valid"]
    assert env.step("0 + 9")[4]["success"]


def test_potential_is_progress_that_can_still_succeed() -> None:
    env = steps_env()
    assert env.step("3 * 7")[4]["potential"] == 0.5
    assert env.step("21 * 9")[4]["potential"] == 0.0
    assert env.step("7 - 9")[4]["potential"] == 0.0, "from -2 and 3 there is no way to 30"


def test_state_key_holds_numbers_attempts_and_turns() -> None:
    env = steps_env()
    env.turn_limit = 6
    assert env.step("9 - 7")[4]["state_key"] == "3,7,9->30|2,3;3|5"
    assert env.step("3 / 2")[4]["state_key"] == "3,7,9->30|3,7,9;2|4"


def test_last_attempt_at_the_limit_is_truncated() -> None:
    env = gym.make("turngym/CountdownSteps-v0")
    episode = play(env, lambda inside: str(legal_steps(inside.numbers)[0]), index=0)  # type: ignore[attr-defined]
    assert len(episode) == 7
    assert [moment.terminated for moment in episode] == [False] * 7
    assert episode[-1].truncated


def test_oracle_recovers_from_any_slip() -> None:
    env = gym.make("turngym/CountdownSteps-v0")
    for index in range(30):
        slips = iter([True])

        def player(inside: Any, index: int = index, slips: Any = slips) -> str:
            if next(slips, False):
                return str(inside.mistaken_action(np.random.default_rng(index)))
            return str(inside.oracle_action())

        assert play(env, player, index=index)[-1].info["success"]


def lost_by(choose: Callable[[Any, np.random.Generator], str]) -> list[float]:
    """Return by how much first attempts miss whose steps are chosen so."""
    env = gym.make("turngym/CountdownSteps-v0")
    inside: Any = env.unwrapped
    misses = []
    for index in range(100):
        env.reset(options={"split": "train", "index": index})
        values = []
        rng = np.random.default_rng(index)
        for _ in range(2):
            action = choose(inside, rng)
            values.append(inside._parse(action).value)
            env.step(action)
        misses.append(float(abs(values[-1] - inside.puzzle.target)))
    return misses


def test_slips_nearly_make_the_target() -> None:
    slips = lost_by(lambda inside, rng: inside.mistaken_action(rng))
    guesses = lost_by(lambda inside, rng: inside.sample_action(rng))
    assert np.median(slips) < np.median(guesses) / 2
    assert 0.0 not in slips


def test_oracle_ends_a_lost_attempt_close_to_the_target() -> None:
    env = steps_env((3, 7, 9), 30)
    env.step("9 - 7")
    assert env.oracle_action() == "2 * 3"  # 6 is no better than 5, but 2 - 3 and 2 / 3 are further away


def test_random_success_is_that_of_the_random_agent() -> None:
    env = gym.make("turngym/CountdownSteps-v0")
    inside: Any = env.unwrapped
    env.reset(options={"split": "train", "index": 5})
    predicted = inside.random_success()
    once = random_play_success(inside.puzzle.numbers, inside.puzzle.target)
    assert predicted == pytest.approx(1 - (1 - once) ** 3)
    played = [play(env, random_policy(seed), seed=seed, index=5)[-1].info["success"] for seed in range(1000)]
    assert abs(np.mean(played) - predicted) < 4 * np.sqrt(predicted * (1 - predicted) / 1000)


def test_values_follow_the_limit_in_force() -> None:
    env: Any = gym.make("turngym/CountdownSteps-v0", max_episode_steps=1).unwrapped
    env.reset(seed=0)
    assert (env.optimal_success(), env.random_success()) == (0.0, 0.0)
    env = gym.make("turngym/CountdownSteps-v0", num_numbers=5).unwrapped
    env.reset(seed=0)
    assert (env.optimal_success(), env.random_success()) == (1.0, None)


def test_puzzle_is_that_of_the_plain_form() -> None:
    plain, steps = CountdownEnv(), CountdownStepsEnv()
    for index in range(20):
        for env in (plain, steps):
            env.reset(options={"split": "test", "index": index})
        assert plain.instance_key == steps.instance_key


@pytest.mark.parametrize("num_numbers", [4, 5, 6])
def test_harder_puzzles_keep_the_contract(num_numbers: int) -> None:
    limit = 2 * (num_numbers - 1)
    env = gym.make("turngym/CountdownSteps-v0", num_numbers=num_numbers, attempts=2, max_episode_steps=limit)
    check_text_env(env, instances=2)
    assert play(env, oracle_policy, split="test", index=9)[-1].info["success"]


def test_rules_state_the_configuration() -> None:
    env = gym.make("turngym/CountdownSteps-v0", num_numbers=4, attempts=5, max_episode_steps=15).unwrapped
    assert isinstance(env, CountdownStepsEnv)
    for phrase in ("the 4 numbers", "Attempts: 5.", "You have 15 turns."):
        assert phrase in env.instructions


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"attempts": 2.5}, "attempts must be a whole number, got 2.5"),
        ({"num_numbers": 2}, r"num_numbers must be in \[3, 6\], got 2"),
        ({"num_numbers": 7}, r"num_numbers must be in \[3, 6\], got 7"),
        ({"number_range": (1.5, 3)}, "number_range must be a whole number, got 1.5"),
        ({"number_range": "19"}, "number_range must be a list, got '19'"),
        ({"number_range": (0, 9)}, "number_range must be"),
        ({"number_range": (9, 1)}, "number_range must have its smallest first"),
        ({"target_range": (1, 10_000)}, "target_range must be"),
        ({"target_range": (1, 2, 3)}, "target_range must be"),
    ],
)
def test_bad_configuration_is_refused(kwargs: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CountdownStepsEnv(**kwargs)
