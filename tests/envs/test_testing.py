"""The checks pass an honest environment and catch each way of breaking the contract."""

from __future__ import annotations

import random
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from turngym.envs.capabilities import COSTS, MissingCapability
from turngym.envs.core import TextEnv
from turngym.envs.registry import register
from turngym.envs.testing import (
    check_splits,
    check_text_env,
    hostile_replies,
    noise_policy,
    oracle_policy,
    play,
    random_policy,
)


def test_honest_environment_passes(guess_env: Any) -> None:
    check_text_env(guess_env())
    check_text_env(guess_env(reasoning=True, split="test"))


def test_what_is_optional_is_no_fault(five_hooks: Any) -> None:
    absent = check_text_env(five_hooks())
    assert [sentence.partition(":")[0] for sentence in absent] == [f"no {name}" for name in COSTS]
    assert absent[0].startswith("no oracle: no warm start by cloning scripted play")
    register("foreign/FiveHooks-v0", five_hooks, max_turns=4)
    try:
        assert check_text_env(gym.make("foreign/FiveHooks-v0"), instances=3) == absent
        assert check_text_env(gym.make("foreign/FiveHooks-v0", reasoning=True), instances=3) == absent
    finally:
        del gym.registry["foreign/FiveHooks-v0"]


def test_what_is_there_is_not_called_absent(guess_env: Any) -> None:
    absent = check_text_env(guess_env())
    assert [sentence.partition(":")[0] for sentence in absent] == [
        "no reasoned",
        "no slips",
        "no rule",
        "no optimum",
        "no random_floor",
        "no drawing",
        "no writing",
    ]


def test_players_that_an_environment_lacks(five_hooks: Any) -> None:
    env = five_hooks()
    with pytest.raises(MissingCapability, match="FiveHooksEnv defines no oracle_action, which oracle_policy needs"):
        play(env, oracle_policy)
    with pytest.raises(MissingCapability, match="defines no sample_action, which random_policy needs"):
        play(env, random_policy(0))
    assert play(env, noise_policy(5)) == play(env, noise_policy(5)) != play(env, noise_policy(6))
    assert len({moment.reply for moment in play(env, noise_policy(5))}) > 100


def test_a_range_that_the_class_does_not_declare_is_caught(five_hooks: Any) -> None:
    def init(env: Any, tenfold: bool = False, **kwargs: Any) -> None:
        TextEnv.__init__(env, **kwargs)
        env.reward_range = (0.0, 10.0 if tenfold else 1.0)

    lying = type("LyingEnv", (five_hooks,), {"__init__": init, "reward_range": (0.0, 1.0)})
    register("foreign/Lying-v0", lying, max_turns=4)
    try:
        check_text_env(gym.make("foreign/Lying-v0"), instances=1)
        with pytest.raises(
            AssertionError, match=r"LyingEnv has the reward_range .*10.*override the class method reward_r"
        ):
            check_text_env(gym.make("foreign/Lying-v0", tenfold=True), instances=1)
    finally:
        del gym.registry["foreign/Lying-v0"]


def test_other_environments_are_refused() -> None:
    with pytest.raises(
        TypeError,
        match=r"a TextEnv is needed, got FrozenLakeEnv; derive it from turngym\.envs\.TextEnv, or make it with",
    ):
        check_text_env(gym.make("FrozenLake-v1"))


def test_limit_that_was_not_announced_is_caught(guess_env: Any) -> None:
    gym.register("UnannouncedForTests-v0", guess_env, max_episode_steps=5)
    try:
        with pytest.raises(AssertionError, match=r"make it with turngym\.envs\.make_env, or register it with"):
            check_text_env(gym.make("UnannouncedForTests-v0"))
    finally:
        del gym.registry["UnannouncedForTests-v0"]


def broken_begin(env: Any, split: str, index: int) -> None:
    env.secret, env.last = int(env.np_random.integers(1000)), -1


def leaking_begin(env: Any, split: str, index: int) -> None:
    env.secret, env.last = index, -1


def globally_random(env: Any, feedback: str) -> str:
    random.random()
    return feedback or "Which number?"


def forgetful_info(env: Any, **facts: Any) -> Any:
    return TextEnv._info(env, **facts | {"well_formed": facts["valid"]})


def generous_step(env: Any, action: str) -> Any:
    if not isinstance(action, str) or action.strip():
        return TextEnv.step(env, action)
    observation, *_, info = TextEnv.step(env, action)
    return observation, 0.0, False, False, info | {"valid": True}


BREAKAGES: dict[str, tuple[str, Any, str]] = {
    "instance from the episode's seed": ("_begin", broken_begin, "function of split and index alone"),
    "instance shared by splits": ("_begin", leaking_begin, "both in train and in validation"),
    "silent refusal": ("_observe", lambda env, feedback: "Which number?", "must say why the reply was refused"),
    "observation of no text": ("_observe", lambda env, feedback: 3, "observation"),
    "global generator": ("_observe", globally_random, "global random generator"),
    "reward out of range": ("_play", lambda env, action: (1.5, True, "."), "outside of reward_range"),
    "chance of no probability": ("optimal_success", lambda env: 1.5, r"optimal_success must be None or in \[0, 1\]"),
    "oracle refused": ("oracle_action", lambda env: "a thousand", "refused its own action"),
    "potential out of range": ("_potential", property(lambda env: 2.0), r"outside of \[0, 1\]"),
    "form taken for use": ("_info", forgetful_info, r"'well_formed'\] must be True for the reply"),
    "empty reply played": ("step", generous_step, "without the form of an action must not be played"),
    "endless success": ("_success", property(lambda env: True), "must end once its task is solved"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_breakage_is_caught(guess_env: Any, breakage: str) -> None:
    name, replacement, message = BREAKAGES[breakage]
    broken = type("BrokenEnv", (guess_env,), {name: replacement})
    with pytest.raises(AssertionError, match=message):
        check_text_env(broken())


def test_exception_on_hostile_text_surfaces(guess_env: Any) -> None:
    broken = type("BrokenEnv", (guess_env,), {"_play": lambda env, action: (0.0, int(action) < 0, "No.")})
    with pytest.raises(ValueError, match="invalid literal for int"):
        check_text_env(broken())


def test_split_check_names_the_instance(guess_env: Any) -> None:
    env = type("BrokenEnv", (guess_env,), {"_begin": leaking_begin})()
    with pytest.raises(AssertionError, match="'secret=0' is both in train and in validation"):
        check_splits(env, 1)


def test_play_records_the_episode(guess_env: Any) -> None:
    env = guess_env(reasoning=True)
    episode = play(env, oracle_policy, split="validation", index=2)
    assert [moment.reply for moment in episode] == ["", f"<answer>{env.secret}</answer>"]
    assert episode[-1].terminated and episode[-1].info["success"] and episode[-1].reward == 1.0
    again = play(env, random_policy(4), seed=9, index=5)
    assert again == play(env, random_policy(4), seed=9, index=5)


def test_hostile_replies_are_seeded_and_varied(guess_env: Any) -> None:
    env: TextEnv = guess_env()
    env.reset(seed=0)
    first, second = (hostile_replies(env, np.random.default_rng(3)) for _ in range(2))
    replies = [next(first) for _ in range(500)]
    assert replies == [next(second) for _ in range(500)]
    assert len(set(replies)) > 350
    assert any(len(reply) > 2000 for reply in replies)
    assert any("\ud800" <= character <= "\udfff" for reply in replies for character in reply)
    assert any(env.step(reply)[4]["valid"] for reply in replies), "some are usable, so that play goes on"
