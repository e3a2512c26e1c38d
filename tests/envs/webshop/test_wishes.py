"""What decides success stands in the text that an agent reads, in every environment and in every observation mode."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable
from html import unescape
from typing import Any, get_args

import gymnasium as gym
import pytest

from turngym.envs import TextEnv, env_ids
from turngym.envs.making import text_env
from turngym.envs.webshop import WebShopEnv
from turngym.envs.webshop.compact import spaced
from turngym.envs.webshop.env import ObservationMode

INSTANCES = 50


def decisive(env: TextEnv) -> Hashable:
    """Return what tells an instance from others in which the same play would succeed."""
    if not isinstance(env, WebShopEnv):
        return env.instance_key
    goal = env.goal
    return goal.attributes, goal.options, goal.price_bound, goal.query


@pytest.mark.parametrize(("env_id", "kwargs"), [
    *((env_id, {}) for env_id in env_ids()),
    *((env_id, {"observation_mode": mode, "goals": goals}) for env_id in env_ids() if "WebShop" in env_id
      for mode in get_args(ObservationMode) for goals in ("synthetic", "human")),
])  # fmt: skip
def test_what_decides_success_is_in_the_text(env_id: str, kwargs: dict[str, Any]) -> None:
    env = gym.make(env_id, **kwargs)
    inside = text_env(env)
    read: dict[tuple[str, str], set[Hashable]] = defaultdict(set)
    for index in range(INSTANCES):
        observation, info = env.reset(options={"split": "test", "index": index})
        told = f"{inside.instructions} {observation}"
        read[inside.instructions, observation].add(decisive(inside))
        if isinstance(inside, WebShopEnv):
            wish = inside.goal.instruction
            told = unescape(re.sub(r"<[^>]*>", " ", told)) if inside.observation_mode == "html" else told
            assert info["instruction"] == wish
            assert spaced(wish.replace(".00 dollars", " dollars")) in spaced(told.replace(".00 dollars", " dollars"))
    assert all(len(instances) == 1 for instances in read.values())


def test_the_prompt_of_gigpo_holds_task_step_history_page_and_actions() -> None:
    env = gym.make("turngym/WebShopGiGPO-v0")
    inside = text_env(env)
    assert isinstance(inside, WebShopEnv)
    prompts = [env.reset(options={"split": "test", "index": 2})[0]]
    prompts += [env.step(inside.shopper_action())[0] for _ in range(3)]
    for number, prompt in enumerate(prompts, start=1):
        task, step, *rest = prompt.split("\n")
        assert task == f"Task: {inside.goal.instruction}" and step == f"Step {number} of 15."
        assert [line.split()[1] for line in rest[:-2]] == [str(past) for past in range(max(1, number - 2), number)]
        assert rest[-2].startswith("Now you see: '") and rest[-1].startswith("Usable actions: ")
    assert "Step 2 showed 'Back to Search' [SEP] 'Page 1" in prompts[2] and "and you did click[" in prompts[2]


def test_a_prompt_that_would_be_too_long_goes_without_history() -> None:
    env = gym.make("turngym/WebShopGiGPO-v0", history=100, max_episode_steps=100)
    env.reset(seed=0)
    longest, prompt = 0, ""
    for _ in range(40):
        prompt = env.step("search[shirt]")[0]
        longest = max(longest, len(prompt))
        assert prompt.startswith("Task: ") and "\nNow you see: '" in prompt and "\nUsable actions: " in prompt
    assert 10_000 < longest <= 20_000 and "showed" not in prompt


def test_the_parts_of_the_reward_are_told_beside_it() -> None:
    env = gym.make("turngym/WebShop-v0")
    inside = text_env(env)
    assert isinstance(inside, WebShopEnv)
    _, info = env.reset(options={"split": "test", "index": 2})
    assert "task_score" not in info and info["available_actions"] == {"has_search_bar": True, "clickables": []}
    reward, over = 0.0, False
    while not over:
        _, paid, over, _, info = env.step(inside.oracle_action())
        reward = float(paid)
    assert {key: info[key] for key in ("task_score", "r_type", "r_att", "r_option", "r_price")} == {
        "task_score": 1.0, "r_type": 1.0, "r_att": 1.0, "r_option": 1.0, "r_price": 1.0}  # fmt: skip
    assert reward == 1.0


def test_a_reply_in_a_wrong_form_takes_a_step_and_mixes_up_no_others() -> None:
    env = gym.make("turngym/WebShopGiGPO-v0")
    env.reset(options={"split": "test", "index": 2})
    for reply in ("", "search[dress]"):
        env.step(reply)
    prompt = env.step("click[next >]")[0]
    past = [line for line in prompt.split("\n") if " showed " in line]
    assert "\nStep 4 of 15.\n" in prompt and [line[:6] for line in past] == ["Step 2", "Step 3"]
    assert "'Search', and you did search[dress]." in past[0]
    assert "'Page 1 (Total" in past[1] and past[1].endswith("and you did click[next >].")
