"""Making environments by their id, and what is known of them without making one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest

from turngym._errors import InputError
from turngym.envs import (
    AdaptedTextEnv,
    TextEnv,
    UnfitEnv,
    check_text_env,
    env_class,
    env_ids,
    make_env,
    reward_range,
    text_env,
    turn_limit,
)
from turngym.envs.frozen_lake import FrozenLakeEnv

HOOKED = "foreign/Hooked-v0"
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((env_id, {}) for env_id in env_ids()),
    *(("turngym/WebShop-v0", {"reward_scheme": scheme}) for scheme in ("graded", "binary", "binary_x10")),
    ("turngym/WebShopGiGPO-v0", {"reward_scheme": "graded", "history": 0}),
    ("turngym/Countdown-v0", {"reward_scheme": "graded", "num_numbers": 4}),
    ("turngym/MultiplicationSteps-v0", {"digits": [3, 4], "reasoning": True, "max_episode_steps": 9}),
    ("turngym/FrozenLake-v0", {"size": 7, "split": "test", "max_episode_steps": -1}),
]


@pytest.fixture
def hooked(five_hooks: type[TextEnv]) -> Iterator[type[TextEnv]]:
    """The least environment, registered with Gymnasium's own function."""
    gym.register(HOOKED, cast("Any", five_hooks), max_episode_steps=4)
    yield five_hooks
    del gym.registry[HOOKED]


def put(entry_point: Any) -> None:
    """Register another class in its place."""
    gym.registry[HOOKED].entry_point = entry_point


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[TextEnv]:
    """Every text environment that is made from now on."""
    environments: list[TextEnv] = []
    init = TextEnv.__init__

    def counted(env: TextEnv, **kwargs: Any) -> None:
        environments.append(env)
        init(env, **kwargs)

    monkeypatch.setattr(TextEnv, "__init__", counted)
    return environments


@pytest.mark.parametrize(("env_id", "kwargs"), VARIANTS, ids=str)
def test_range_and_limit_are_known_without_making_one(env_id: str, kwargs: dict[str, Any], made: list[TextEnv]) -> None:
    bounds, limit = reward_range(env_id, kwargs), turn_limit(env_id, kwargs)
    assert made == []
    env = make_env(env_id, kwargs)
    assert len(made) == 1
    assert bounds == env.get_wrapper_attr("reward_range") and limit == text_env(env).turn_limit
    assert isinstance(made[0], env_class(env_id) or ())
    env.close()


def test_the_range_of_the_shop_depends_on_its_arguments() -> None:
    assert reward_range("turngym/WebShop-v0") == (0.0, 1.0)
    assert reward_range("turngym/WebShopGiGPO-v0") == (0.0, 10.0)
    assert reward_range("turngym/WebShopGiGPO-v0", {"reward_scheme": "binary"}) == (0.0, 1.0)


def test_a_range_set_in_init_is_read_once(hooked: type[TextEnv], made: list[TextEnv]) -> None:
    closed = []

    def init(env: Any, worth: float = 1.0, **kwargs: Any) -> None:
        TextEnv.__init__(env, **kwargs)
        env.reward_range = (0, worth)

    worthy = type("WorthyEnv", (hooked,), {"__init__": init, "close": lambda env: closed.extend([env])})
    put(worthy)
    assert reward_range(HOOKED) == (0.0, 1.0) == reward_range(HOOKED, {})
    assert reward_range(HOOKED, {"worth": 3}) == (0.0, 3.0) == reward_range(HOOKED, {"worth": 3})
    assert len(made) == 2 and closed == made
    type(made[0]).reward_range_of = classmethod(lambda kind, worth=1.0, **others: (0.0, worth))  # type: ignore[method-assign, assignment]
    assert reward_range(HOOKED, {"worth": 7, "max_episode_steps": 2}) == (0.0, 7.0)
    assert len(made) == 2, "now the class says it"


def test_a_range_in_the_body_of_a_class_holds_for_classes_below(hooked: type[TextEnv], made: list[TextEnv]) -> None:
    put(type("BoundedEnv", (hooked,), {"reward_range": (-1.0, 2.0)}))
    assert reward_range(HOOKED) == (-1.0, 2.0) and made == []
    put(type("LakeEnv", (FrozenLakeEnv,), {"__init__": FrozenLakeEnv.__init__}))
    assert reward_range(HOOKED) == (0.0, 1.0) and len(made) == 1, "an __init__ below may have changed it"


def test_a_range_other_than_the_declared_one_is_refused(hooked: type[TextEnv]) -> None:
    def init(env: Any, **kwargs: Any) -> None:
        TextEnv.__init__(env, **kwargs)
        env.reward_range = (0.0, 2.0)

    put(type("LyingEnv", (hooked,), {"__init__": init, "reward_range": (0.0, 1.0)}))
    with pytest.raises(UnfitEnv, match=r"LyingEnv has the reward_range \(0.0, 2.0\), its class declares \(0.0, 1.0\)"):
        make_env(HOOKED)


@pytest.mark.parametrize("bounds", [(0, 0), (1, 0), (0.0, float("inf")), (0.0, float("nan")), None])
def test_a_range_has_a_width(hooked: type[TextEnv], bounds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooked, "reward_range", bounds)
    with pytest.raises(UnfitEnv, match="must be two finite numbers, the lower first and not equal"):
        make_env(HOOKED)


def test_an_environment_of_gymnasiums_registry_knows_its_limit(hooked: type[TextEnv]) -> None:
    env = make_env(HOOKED)
    assert text_env(env).turn_limit == 4 == turn_limit(HOOKED)
    assert env.reset(seed=0)[1]["state_key"].endswith("|4")
    assert text_env(make_env(HOOKED, {"max_episode_steps": 2})).turn_limit == 2
    assert text_env(make_env(HOOKED, {"max_episode_steps": -1})).turn_limit is None
    check_text_env(make_env(HOOKED), instances=2)


def test_an_announced_limit_is_not_announced_twice() -> None:
    assert str(make_env("turngym/FrozenLake-v0")).count("AnnounceTurnLimit") == 1


def test_gymnasium_makes_it_alone_and_as_a_vector(hooked: type[TextEnv]) -> None:
    assert isinstance(gym.make(HOOKED).unwrapped, hooked)
    vector: Any = gym.make_vec(HOOKED, num_envs=2, vectorization_mode="sync")
    assert list(vector.reset(seed=[1, 2])[0]) == ["0 said.", "0 said."]
    observations, rewards, terminations, _, _ = vector.step(("one", "two"))
    assert observations[0] == "Good. 1 said." and observations[1].startswith("Invalid action: say the next word.")
    assert list(rewards) == [0.0, 0.0] and not any(terminations)
    vector.close()


def test_an_id_may_name_the_module_that_registers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import gymnasium\ngymnasium.register('their/Lake-v3', 'turngym.envs.frozen_lake:FrozenLakeEnv', size=3)\n"
    (tmp_path / "their_games.py").write_text(source.replace("size=3", "kwargs={'size': 3}, max_episode_steps=9"))
    monkeypatch.syspath_prepend(tmp_path)
    name = "their_games:their/Lake-v3"
    try:
        assert (env_class(name), reward_range(name), turn_limit(name)) == (FrozenLakeEnv, (0.0, 1.0), 9)
        assert text_env(make_env(name)).instructions.count("3 rows") == 1
    finally:
        del gym.registry["their/Lake-v3"], sys.modules["their_games"]


def test_an_environment_that_a_function_makes(hooked: type[TextEnv]) -> None:
    put(partial(hooked, split="test"))
    assert env_class(HOOKED) is None
    inside = text_env(make_env(HOOKED, {"reasoning": True}))
    assert inside.reasoning and inside.split == "test"
    assert reward_range(HOOKED) == (0.0, 1.0)


def test_arguments_of_the_adapter_are_refused_where_there_is_none() -> None:
    with pytest.raises(UnfitEnv, match="FrozenLakeEnv needs no adapter: leave out adapter_rules"):
        make_env("turngym/FrozenLake-v0", {"adapter_rules": "Walk."})


def test_what_is_not_registered_is_not_made() -> None:
    for ask in (make_env, env_class, reward_range, turn_limit):
        with pytest.raises(gym.error.UnregisteredEnv):
            ask("turngym/Frozzen-v0")  # type: ignore[operator]
    gym.register("foreign/Vector-v0", vector_entry_point="nowhere:Vector")
    try:
        with pytest.raises(UnfitEnv, match="registered without an entry point"):
            make_env("foreign/Vector-v0")
    finally:
        del gym.registry["foreign/Vector-v0"]


def test_the_latest_version_is_meant_where_none_is_named() -> None:
    with pytest.warns(UserWarning, match="Using the latest versioned environment"):
        env = make_env("turngym/FrozenLake")
    assert isinstance(env.unwrapped, FrozenLakeEnv) and env_class("turngym/FrozenLake") is FrozenLakeEnv


def test_the_text_environment_inside() -> None:
    env = make_env("turngym/FrozenLake-v0")
    assert text_env(env) is env.unwrapped and not isinstance(text_env(env), AdaptedTextEnv)
    with pytest.raises(TypeError, match="a TextEnv is needed, got CartPoleEnv"):
        text_env(gym.make("CartPole-v1"))


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"max_episode_steps": "5"}, "max_episode_steps must be a whole number, got '5'"),
        ({"max_episode_steps": 2.5}, "max_episode_steps must be a whole number, got 2.5"),
        ({"max_episode_steps": True}, "max_episode_steps must be a whole number, got True"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, or -1 for no limit, got 0"),
        ({"max_episode_steps": -2}, "max_episode_steps must be at least 1, or -1 for no limit, got -2"),
        ({"render_mode": ["ansi"]}, "render_mode must be a text, got ['ansi']"),
        ([("size", 3)], "the arguments of an environment must be a mapping from their names, got [('size', 3)]"),
        ("size", "the arguments of an environment must be a mapping from their names, got 'size'"),
        ({3: 4}, "the arguments of an environment must be a mapping from their names, got {3: 4}"),
    ],
)
def test_arguments_that_are_none_are_refused(kwargs: Any, sentence: str) -> None:
    for function in (make_env, turn_limit):
        with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
            function("turngym/FrozenLake-v0", kwargs)


def test_numbers_of_numpy_are_arguments() -> None:
    env = make_env("turngym/FrozenLake-v0", {"size": np.int64(3), "max_episode_steps": np.int32(4)})
    assert env.get_wrapper_attr("size") == 3 and text_env(env).turn_limit == 4
    assert turn_limit("turngym/FrozenLake-v0", {"max_episode_steps": np.int32(-1)}) is None
