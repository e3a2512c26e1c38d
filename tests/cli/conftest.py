"""An environment of somebody else, for the commands that play."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import gymnasium as gym
import pytest
from tests.envs.five_hooks import FiveHooksEnv


@pytest.fixture
def five_hooks_id() -> Iterator[str]:
    """An environment without oracle and random agent, found by the name FiveHooks."""
    gym.register("turngym/FiveHooks-v0", cast("Any", FiveHooksEnv), max_episode_steps=3)
    yield "turngym/FiveHooks-v0"
    del gym.registry["turngym/FiveHooks-v0"]
