"""The battery: every registered environment, with no test code of its own, keeps the contract of the suite."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - only what this file wrote itself
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from turngym.envs import Optimum, RandomFloor, TextEnv, env_ids
from turngym.envs.making import make_env, text_env
from turngym.envs.splits import SPLITS
from turngym.envs.testing import (
    Policy,
    check_hostile,
    check_splits,
    check_text_env,
    oracle_policy,
    play,
    random_policy,
)

CALIBRATION_EPISODES = 200
HOSTILE_REPLIES = 10_000
SPLIT_INSTANCES = 1_000

TWIN = """
import dataclasses, json, gymnasium, turngym
from turngym.envs import env_ids
from turngym.envs.testing import oracle_policy, play, random_policy
episodes = {}
for env_id in env_ids():
    env = gymnasium.make(env_id)
    episodes[env_id] = [
        [dataclasses.asdict(moment) for moment in play(env, player, seed=index, split=split, index=index)]
        for split in ("train", "test") for index in range(5) for player in (oracle_policy, random_policy(index))
    ]
print(json.dumps(episodes))
"""
IMPORTS = "import sys, turngym, turngym.envs, turngym.envs.testing; print(*sorted(sys.modules))"


@pytest.fixture(params=env_ids())
def env_id(request: pytest.FixtureRequest) -> str:
    """Every registered id in turn."""
    return str(request.param)


@pytest.fixture
def env(env_id: str) -> Iterator[gym.Env[str, str]]:
    """Every registered environment in turn."""
    made = gym.make(env_id)
    yield made
    made.close()


def test_suite_is_registered() -> None:
    ids = env_ids()
    assert ids == sorted(set(ids)) and len(ids) >= 4
    assert "turngym/FrozenLake-v0" in ids


def test_contract(env: gym.Env[str, str]) -> None:
    check_text_env(env)


def test_contract_with_reasoning(env_id: str) -> None:
    check_text_env(gym.make(env_id, reasoning=True, split="validation"), instances=3)


def test_documentation_page_is_complete(env: gym.Env[str, str]) -> None:
    page = type(env.unwrapped).__doc__ or ""
    for section in (
        *("Description", "Action Space", "Observation Space", "Starting State", "Rewards", "Episode End"),
        *("Information", "Arguments", "References", "Version History"),
    ):
        assert f"## {section}\n" in page, f"the class docstring has no section {section}"


def test_seed_determines_the_episode(env_id: str) -> None:
    first, second = gym.make(env_id), gym.make(env_id)
    starts = [first.reset(seed=seed) for seed in range(10)]
    assert starts == [second.reset(seed=seed) for seed in range(10)]
    assert len({info["state_key"] for _, info in starts}) > 1
    assert first.reset() == second.reset(), "and what follows without a seed"


def test_an_episode_begins_as_in_a_new_environment(env: gym.Env[str, str]) -> None:
    """Nothing of the episode before is in its texts."""
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(3):
        if any(env.step(env.unwrapped.sample_action(rng))[2:4]):  # type: ignore[attr-defined]
            break
    again, info = env.reset(seed=1, options={"split": "test", "index": 1})
    assert env.spec is not None
    fresh, fresh_info = gym.make(env.spec).reset(seed=1, options={"split": "test", "index": 1})
    assert (again, info) == (fresh, fresh_info)


@pytest.mark.parametrize("copied", [deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"])  # noqa: S301
def test_a_copy_goes_on_by_itself(env: gym.Env[str, str], copied: Callable[[Any], Any]) -> None:
    """Made and not yet reset, at the start, and in the midst of an episode: the same from there on, and no more."""
    policy = random_policy(1)
    assert copied(env).reset(seed=3) == env.reset(seed=3)
    for _ in range(2):
        twin = copied(env)
        reply = policy(text_env(env))
        answers = [env.step(reply), twin.step(reply)]
        assert answers[0] == answers[1] and text_env(twin) is not text_env(env)
        twin.step("nonsense")
        assert text_env(env).turns_taken == text_env(twin).turns_taken - 1
        if answers[0][2] or answers[0][3]:
            break
    assert copied(env).reset(seed=4) == env.reset(seed=4)


def test_the_last_turn_ends_a_game_in_one_way(env_id: str) -> None:
    """An oracle that wins in the very turn of the limit has won, and was not cut off."""
    env = make_env(env_id)
    index, whole = next((index, episode) for index in range(99)
                        if (episode := play(env, oracle_policy, split="test", index=index))[-1].terminated)  # fmt: skip
    assert not whole[-1].truncated
    tight = make_env(env_id, {"max_episode_steps": len(whole) - 1})
    replies = iter([moment.reply for moment in whole[1:]])
    last = play(tight, lambda _: next(replies), split="test", index=index)[-1]
    assert (last.terminated, last.truncated) == (True, False) and last.info["success"] == whole[-1].info["success"]
    cut = play(make_env(env_id, {"max_episode_steps": 1}), lambda _: "nonsense", split="test", index=index)[-1]
    assert (cut.terminated, cut.truncated) == (False, True)


def test_vector_environment_agrees_with_single_ones(env_id: str) -> None:
    vector: Any = gym.make_vec(env_id, num_envs=3, vectorization_mode="sync")
    observations, info = vector.reset(seed=[5, 6, 7])
    singles = [gym.make(env_id) for _ in range(3)]
    starts = [single.reset(seed=seed) for single, seed in zip(singles, (5, 6, 7), strict=True)]
    assert list(observations) == [observation for observation, _ in starts]
    assert list(info["state_key"]) == [single_info["state_key"] for _, single_info in starts]
    replies = tuple(oracle_policy(text_env(single)) for single in singles)
    observations, rewards, terminations, truncations, _ = vector.step(replies)
    answers = [single.step(reply) for single, reply in zip(singles, replies, strict=True)]
    assert list(zip(observations, rewards, terminations, truncations, strict=True)) == [a[:4] for a in answers]
    vector.close()


def test_asynchronous_vector_environment() -> None:
    vector: Any = gym.make_vec("turngym/FrozenLake-v0", num_envs=2, vectorization_mode="async")
    single = gym.make("turngym/FrozenLake-v0")
    observations, _ = vector.reset(seed=[5, 6])
    assert observations[1] == single.reset(seed=6)[0]
    observations = vector.step(("left", "walk \u2603"))[0]
    assert observations[1] == single.step("walk \u2603")[0]
    vector.close()


@pytest.fixture(scope="module")
def twins() -> list[dict[str, Any]]:
    """The same episodes of every environment from two interpreters that hash differently."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWIN], stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": hash_seed}
        )
        for hash_seed in ("1", "2")
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output) for output in outputs]


def test_twin_processes_play_the_same_bytes(env_id: str, twins: list[dict[str, Any]]) -> None:
    first, second = (json.dumps(twin[env_id]) for twin in twins)
    assert len(first) > 1000
    assert first == second


def test_no_global_generator_is_drawn_from(env: gym.Env[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("an environment must draw from its own generator")

    for module, generator in ((random, random.random.__self__), (np.random, np.random.random.__self__)):  # type: ignore[attr-defined]
        for name in dir(module):
            if getattr(getattr(module, name), "__self__", None) is generator:
                monkeypatch.setattr(module, name, refuse)
    with pytest.raises(AssertionError, match="its own generator"):
        random.randrange(3)
    with pytest.raises(AssertionError, match="its own generator"):
        np.random.rand()
    for index in range(5):
        play(env, random_policy(index), seed=index, index=index)
        play(env, oracle_policy, seed=index, index=index)


@pytest.mark.parametrize("reasoning", [False, True])
def test_hostile_replies_are_answered(env_id: str, reasoning: bool) -> None:
    check_hostile(gym.make(env_id, reasoning=reasoning), replies=HOSTILE_REPLIES // 2, seed=1 + reasoning)


def test_splits_share_no_instance(env: gym.Env[str, str]) -> None:
    check_splits(text_env(env), SPLIT_INSTANCES)


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_instances(env: gym.Env[str, str], split: str) -> None:
    keys = set()
    for index in range(20):
        env.reset(options={"split": split, "index": index})
        keys.add(text_env(env).instance_key)
    assert len(keys) > 5


def test_limit_in_force_reaches_prompt_and_state(env_id: str) -> None:
    env = gym.make(env_id, max_episode_steps=3)
    _, info = env.reset(seed=0)
    assert "You have 3 turns." in text_env(env).instructions
    assert info["state_key"].endswith("|3")
    ends = [env.step("?")[3] for _ in range(3)]
    assert ends == [False, False, True]


def test_environment_never_truncates_itself(env: gym.Env[str, str]) -> None:
    inside = text_env(env)
    inside.reset(seed=0)
    limit = inside.turn_limit
    assert limit is not None
    answers = [inside.step("?") for _ in range(limit + 5)]
    assert not any(truncated for _, _, _, truncated, _ in answers)
    assert inside.turns_left == 0


def assert_calibrated(env: gym.Env[str, str], player: Policy, known: Callable[[TextEnv], float | None]) -> None:
    """Check that `player` solves as many test instances as `known` expects, within three standard errors.

    Instances about which nothing is known are left out.
    """
    solved, expected, variance, compared = 0, 0.0, 0.0, 0
    for index in range(CALIBRATION_EPISODES):
        success = play(env, player, seed=index, split="test", index=index)[-1].info["success"]
        probability = known(text_env(env))
        if probability is None:
            continue
        solved += success
        expected += probability
        variance += probability * (1 - probability)
        compared += 1
    if not compared:
        pytest.skip("only play can tell")
    assert abs(solved - expected) <= 3 * variance**0.5 + 1e-6, f"{solved} solved, {expected:.1f} expected"


def known_optimum(inside: TextEnv) -> float | None:
    return inside.optimal_success() if isinstance(inside, Optimum) else None


def test_oracle_reaches_the_optimum(env: gym.Env[str, str]) -> None:
    assert_calibrated(env, oracle_policy, known_optimum)


def known_floor(inside: TextEnv) -> float | None:
    return inside.random_success() if isinstance(inside, RandomFloor) else None


def test_random_agent_is_at_its_floor(env: gym.Env[str, str]) -> None:
    assert_calibrated(env, random_policy(0), known_floor)


PRESENTED: dict[str, Any] = {
    "reasoning": True, "view": "coordinates", "digit_order": "least_first", "observation_mode": "compact",
    "title_words": 2, "show_actions": True, "history": 1,
}  # fmt: skip
"""Another value of each argument that says what an agent reads."""


def test_what_an_agent_reads_changes_neither_instances_nor_rewards(env_id: str) -> None:
    plain = make_env(env_id)
    shown = make_env(env_id, {name: PRESENTED[name] for name in text_env(plain).presentation_arguments})
    episodes, keys = [], []
    for env in (plain, shown):
        played = [play(env, oracle_policy, seed=index, split="test", index=index) for index in range(4)]
        episodes.append([[moment.reward for moment in moments] for moments in played])
        keys.append(text_env(env).instance_key)
        env.close()
    assert episodes[0] == episodes[1] and keys[0] == keys[1]


def test_instances_begin_again_where_an_environment_says_so(env: gym.Env[str, str]) -> None:
    inside = text_env(env)
    count = inside.num_instances("test")
    if count is None:
        return
    keys = []
    for index in (0, 1, count, count + 1):
        env.reset(seed=0, options={"split": "test", "index": index})
        keys.append(inside.instructions + inside._observe(""))
    assert keys[:2] == keys[2:] and keys[0] != keys[1]


def test_importing_the_environments_loads_no_model_library() -> None:
    modules = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True).stdout.split()
    assert "turngym.envs" in modules and "numpy" in modules
    heavy = {"torch", "transformers", "flask", "matplotlib", "pygame", "turngym.agents", "turngym.trainers"}
    assert not heavy & set(modules)
