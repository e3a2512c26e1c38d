"""What an environment offers is what its class defines."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from turngym.envs import MissingCapability, Oracle, Rule, Sampling, TextEnv, capabilities_of, env_ids
from turngym.envs.capabilities import COSTS, METHODS, slip

BASE = {"oracle", "sampling", "optimum", "random_floor", "potential", "state"}
OFFERED = {
    "Countdown": BASE | {"reasoned", "drawing", "writing"},
    "CountdownSteps": BASE | {"reasoned", "slips", "drawing", "writing"},
    "FrozenLake8x8": BASE | {"slips", "drawing", "writing"},
    "Multiplication": BASE | {"reasoned", "slips", "drawing", "writing"},
    "MultiplicationSteps": BASE | {"slips", "drawing", "writing"},
    "WebShop": (BASE | {"rule", "shopper", "slips", "drawing", "writing"}) - {"random_floor"},
}


@pytest.mark.parametrize("name", OFFERED)
def test_what_the_suite_offers(name: str) -> None:
    env = gym.make(f"turngym/{name}-v0")
    assert capabilities_of(env) == OFFERED[name] == capabilities_of(type(env.unwrapped))


@pytest.mark.parametrize("env_id", env_ids())
def test_every_environment_of_the_suite_has_an_oracle_and_a_random_agent(env_id: str) -> None:
    assert {"oracle", "sampling", "optimum", "potential", "state"} <= capabilities_of(gym.make(env_id))


def test_the_base_class_offers_nothing(five_hooks: type[TextEnv]) -> None:
    assert capabilities_of(TextEnv) == frozenset() == capabilities_of(five_hooks)
    assert not isinstance(five_hooks(), Oracle | Sampling | Rule)


@pytest.mark.parametrize("capability", METHODS)
def test_one_method_is_one_capability(five_hooks: type[TextEnv], capability: Any) -> None:
    method = METHODS[capability]
    more = type("MoreEnv", (five_hooks,), {method: lambda env: 0.5})
    assert capabilities_of(more) == {capability}
    assert capabilities_of(type("LessEnv", (more,), {method: None})) == frozenset()
    assert (capability in COSTS) == (capability != "shopper")


def test_a_slip_is_the_environments_own_or_any_usable_action(guess_env: Any, five_hooks: type[TextEnv]) -> None:
    env = guess_env()
    draws = (np.random.default_rng(3), np.random.default_rng(3))
    assert slip(env, draws[0]) == env.sample_action(draws[1])
    clumsy = type("ClumsyEnv", (guess_env,), {"mistaken_action": lambda env, rng: "oops"})
    assert slip(clumsy(), draws[0]) == "oops"
    with pytest.raises(MissingCapability, match="FiveHooksEnv defines no mistaken_action, which an agent that makes"):
        slip(five_hooks(), draws[0])
