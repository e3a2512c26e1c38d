"""Shops to play in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest

from turngym.envs.making import text_env
from turngym.envs.webshop import WebShopEnv

ShopMaker = Callable[..., WebShopEnv]


@pytest.fixture(scope="session")
def shop() -> ShopMaker:
    """Return what makes a shop with its turn limit, at the start of a test goal; by default with compact pages."""

    def make(index: int = 0, env_id: str = "turngym/WebShop-v0", **kwargs: Any) -> WebShopEnv:
        env = gym.make(env_id, **{"observation_mode": "compact", **kwargs})
        env.reset(options={"split": "test", "index": index})
        inside = text_env(env)
        assert isinstance(inside, WebShopEnv)
        return inside

    return make
