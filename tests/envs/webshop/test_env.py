"""WebShop: what a player reads and earns, what the oracle and chance achieve, and that goals stay hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.envs.webshop.conftest import ShopMaker

from turngym._errors import InputError
from turngym.envs import Rule, TextEnv
from turngym.envs.making import make_env, text_env
from turngym.envs.testing import check_text_env, oracle_policy, play, random_policy
from turngym.envs.webshop import WebShopEnv
from turngym.envs.written import WRITTEN_INSTANCES, InvalidInstance, UnsolvableInstance
from turngym.webshop_server.catalogue import generate_catalogue, generate_records, write_catalogue
from turngym.webshop_server.pages import PageKind
from turngym.webshop_server.search import documents_of, save_index
from turngym.webshop_server.shop import LocalBackend

ID = "turngym/WebShop-v0"


def shop_env(**kwargs: Any) -> WebShopEnv:
    env = text_env(gym.make(ID, **kwargs))
    assert isinstance(env, WebShopEnv)
    return env


def backend(env: WebShopEnv) -> LocalBackend:
    assert isinstance(env.backend, LocalBackend)
    return env.backend


@pytest.mark.parametrize("kwargs", [
    {"goals": "human"}, {"mode": "faithful"}, {"observation_mode": "text_rich", "show_actions": True, "history": 3},
    {"observation_mode": "url", "reward_scheme": "binary_x10"}, {"num_products": 50, "shop_seed": 4, "reasoning": True},
])  # fmt: skip
def test_every_configuration_keeps_the_contract(kwargs: dict[str, Any]) -> None:
    check_text_env(gym.make(ID, **kwargs), instances=3)


@pytest.mark.parametrize("goals", ["synthetic", "human"])
def test_the_oracle_buys_all_that_was_asked_for(goals: str) -> None:
    env = gym.make(ID, goals=goals)
    for index in range(100):
        episode = play(env, oracle_policy, split="test", index=index)
        assert episode[-1].info["success"] and episode[-1].reward == 1.0 and episode[-1].terminated
        env.reset(options={"split": "test", "index": index})
        inside = env.unwrapped
        assert isinstance(inside, WebShopEnv) and inside.optimal_success() == 1.0


def test_chance_rarely_buys_it() -> None:
    env = gym.make(ID)
    episodes = [play(env, random_policy(seed), split="test", index=seed) for seed in range(200)]
    assert np.mean([episode[-1].info["success"] for episode in episodes]) < 0.03
    assert 0.01 < np.mean([episode[-1].reward for episode in episodes]) < 0.3


def test_the_rule_buys_the_first_result() -> None:
    env = gym.make(ID)

    def rule_player(inside: TextEnv) -> str:
        assert isinstance(inside, Rule)
        return inside.rule_action()

    episodes = [play(env, rule_player, split="test", index=index) for index in range(100)]
    assert all(len(episode) == 4 and episode[-1].terminated for episode in episodes)
    assert 0.2 < np.mean([episode[-1].reward for episode in episodes]) < 0.8
    assert np.mean([episode[-1].info["success"] for episode in episodes]) < 0.3


def test_no_turns_no_success() -> None:
    env: Any = gym.make(ID, max_episode_steps=2).unwrapped
    env.reset(seed=0)
    assert env.optimal_success() is None


def test_an_unusable_action_says_why_before_the_page() -> None:
    env = shop_env()
    start, _ = env.reset(seed=0)
    observation, reward, terminated, _, info = env.step("click[buy now]")
    assert observation == f"Invalid action: nothing on this page is clicked by that text.\n{start}"
    assert (reward, terminated, info["valid"]) == (0.0, False, False)


def test_the_faithful_shop_says_nothing_of_it() -> None:
    env = shop_env(mode="faithful")
    start, _ = env.reset(seed=0)
    observation, _, _, _, info = env.step("click[buy now]")
    assert observation == start and not info["valid"]
    env.step("search[lamp]")
    assert env.step("search[shirt]")[4]["valid"]


def test_shows_usable_actions_and_history_on_demand() -> None:
    env = shop_env(show_actions=True, history=2)
    observation, _ = env.reset(seed=0)
    assert observation.endswith("\nUsable actions: search[words]")
    observation = env.step("search[usb cables]")[0]
    assert "\nYour last actions: search[usb cables]\nUsable actions: click[back to search] click[" in observation
    for action in ("click[next >]", "click[nonsense]"):
        observation = env.step(action)[0]
    assert "\nYour last actions: click[next >] click[nonsense]\n" in observation


@pytest.mark.parametrize(
    ("scheme", "partial", "full"), [("graded", None, 1.0), ("binary", 0.0, 1.0), ("binary_x10", 0.0, 10.0)]
)
def test_reward_schemes(scheme: str, partial: float | None, full: float) -> None:
    env = gym.make(ID, reward_scheme=scheme)
    inside: Any = env.unwrapped
    assert inside.reward_range == (0.0, full)
    assert play(env, oracle_policy, index=1)[-1].reward == full
    env.reset(options={"split": "train", "index": 1})
    while not inside.session.page.asin:
        env.step(inside.oracle_action())
    inside.session.page = inside.session.page.__class__(
        session="x", goal=inside.goal, kind=PageKind.ITEM, asin=inside.goal.asin
    )
    assert inside.goal.options, "the goal must want an option, for a purchase without it to be partial"
    reward = float(env.step("click[buy now]")[1])
    assert 0 < reward < 1 if partial is None else reward == partial


def test_potential_grows_with_what_is_chosen() -> None:
    potentials = [moment.info["potential"] for moment in play(gym.make(ID), oracle_policy, index=1)]
    assert potentials[0] == 0.0
    assert sorted(potentials[:-1]) == potentials[:-1]
    assert potentials[-2] == 1.0


def test_the_goal_is_hidden() -> None:
    env = shop_env(observation_mode="text_rich", show_actions=True)
    observation, _ = env.reset(options={"split": "test", "index": 0})
    assert env.goal.asin not in observation and env.goal.title not in observation
    assert env.goal.instruction in observation


def test_one_shop_serves_all_environments() -> None:
    assert backend(shop_env()).shop is backend(shop_env(observation_mode="url")).shop
    assert backend(shop_env()).shop is not backend(shop_env(num_products=50)).shop
    assert backend(shop_env()).shop.catalogue is backend(shop_env(mode="faithful", goals="human")).shop.catalogue


def test_splits_are_ranges_of_one_order() -> None:
    env = shop_env()
    ranges = {}
    for split in ("test", "validation", "train"):
        numbers = {env.backend.goal_number(split, index) for index in range(10_000)}
        assert numbers == set(range(min(numbers), max(numbers) + 1))
        ranges[split] = (min(numbers), max(numbers) + 1)
        assert env.num_instances(split) == len(numbers)
    total = len(backend(env).goals)
    assert ranges == {"test": (0, 385), "validation": (385, 1155), "train": (1155, total)} and total == 3851


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mode": "strict"}, "mode must be one of 'fixed', 'faithful', got 'strict'"),
        ({"goals": "mine"}, "goals must be one of 'synthetic', 'human'"),
        ({"engine": "google"}, "engine must be one of 'bm25', 'lucene', got 'google'"),
        (
            {"observation_mode": "audio"},
            "observation_mode must be one of 'text', 'text_rich', 'quoted', 'compact', 'html', 'url'",
        ),
        ({"reward_scheme": "x"}, "reward_scheme must be one of"),
        ({"history": -1}, "history must be at least 0"),
        ({"history": "2"}, "history must be a whole number, got '2'"),
        ({"show_actions": "false"}, "show_actions must be true or false, got 'false'"),
        ({"catalogue": 3}, "catalogue must be a text, got 3"),
        ({"num_products": 9}, "num_products must be 10"),
    ],
)
def test_refuses_settings(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make(ID, **kwargs)


def test_searches_a_saved_index(tmp_path: Path) -> None:
    env = shop_env(num_products=50)
    catalogue = generate_catalogue(50)
    save_index("bm25", documents_of(catalogue), tmp_path / "index", fingerprint=catalogue.fingerprint)
    saved = shop_env(num_products=50, index=str(tmp_path / "index"))
    for one in (env, saved):
        one.reset(options={"split": "test", "index": 0})
    action = f"search[{env.goal.instruction}]"
    assert saved.step(action)[0] == env.step(action)[0]
    with pytest.raises(ValueError, match="over another catalogue; make it anew"):
        shop_env(num_products=51, index=str(tmp_path / "index"))


def test_what_a_catalogue_holds_decides_play_and_not_its_path(tmp_path: Path) -> None:
    found = []
    for name, count in (("a", 40), ("b", 40), ("c", 41)):
        write_catalogue(tmp_path / f"{name}.sqlite", generate_records(count, 0))
        arguments = {"catalogue": str(tmp_path / f"{name}.sqlite"), "num_products": 0, "mode": "faithful"}
        found.append(WebShopEnv.defining_arguments(arguments))
    assert found[0] == found[1] != found[2] and set(found[0]) == {"shop"}
    assert WebShopEnv.defining_arguments({"history": 2, "num_products": 40}) == {"history": 2, "num_products": 40}


def test_refuses_a_catalogue_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError), match=r"items\.json"):
        gym.make(ID, catalogue=str(tmp_path / "items.json"))


@pytest.mark.parametrize("mode", ["fixed", "faithful"])
def test_a_purchase_pays_once(mode: str) -> None:
    env = gym.make("turngym/WebShop-v0", mode=mode, num_products=50)
    inside: Any = env.unwrapped
    env.reset(seed=0)
    rewards: list[float] = []
    while not rewards or rewards[-1] == 0:
        rewards.append(inside.step(inside.oracle_action())[1])
    receipt = inside.session.page
    for action in (
        "click[buy now]",
        f"search[{inside.goal.title}]",
        f"click[{inside.goal.asin}]",
        "click[back to search]",
    ):
        observation, reward, terminated, _, info = inside.step(action)
        assert (reward, terminated, info["valid"], info["potential"]) == (0.0, False, False, 1.0), action
        assert inside.session.page is receipt and "Thank you for shopping with us!" in observation
    assert sum(rewards) == rewards[-1] == 1.0


def test_a_careless_shopper_never_buys_and_is_mostly_understood(shop: ShopMaker) -> None:
    rng = np.random.default_rng(0)
    seen, valid = set(), []
    for index in range(5):
        env = shop(index)
        for _ in range(40):
            action = env.mistaken_action(rng)
            seen.add(action.partition("[")[0] if action.startswith("search") else action)
            _, _, over, _, info = env.step(action)
            valid.append(info["valid"])
            assert not over
    assert {"search", "click[ < prev ]"} <= seen and len(seen) > 30
    assert 0.65 < np.mean(valid) < 0.9


@pytest.mark.parametrize("mode", ["compact", "text"])
def test_a_wish_is_an_instance(mode: str) -> None:
    env = make_env("turngym/WebShop-v0", {"num_products": 200, "observation_mode": mode})
    game = text_env(env)
    assert isinstance(game, WebShopEnv) and "It is written such as: " in game.instance_form
    env.reset(seed=0, options={"split": "train", "index": 3})
    text, drawn = game.written_instance(), game.goal
    split, index = game.read_instance(text)
    assert split == "train" and index >= WRITTEN_INSTANCES and game.read_instance(text.upper()) == (split, index)
    observation, _ = env.reset(seed=0, options={"instance": text})
    assert (game.goal.attributes, game.goal.price_bound) == (drawn.attributes, drawn.price_bound)
    assert drawn.query in observation and game.optimal_success() == 1.0
    assert env.reset(seed=0, options={"split": split, "index": index})[0] == observation
    while not env.step(game.oracle_action())[2]:
        pass
    assert game.session is not None and game.session.page.reward == 1.0
    with pytest.raises(InputError, match="belongs to the split 'train', not to 'test'"):
        env.reset(seed=0, options={"split": "test", "index": index})
    with pytest.raises(InputError, match="no wish of the number"):
        env.reset(seed=0, options={"split": "train", "index": WRITTEN_INSTANCES})


def test_what_is_no_wish_or_cannot_be_fulfilled_says_so() -> None:
    game = shop_env(num_products=200)
    with pytest.raises(InvalidInstance, match="between semicolons") as raised:
        game.read_instance("a lamp")
    assert type(raised.value) is InvalidInstance
    with pytest.raises(UnsolvableInstance, match="no such kind"):
        game.read_instance("time machines; fast; 50")
