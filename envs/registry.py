"""Every environment of the suite, registered with Gymnasium under the `turngym/` namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

from turngym.arguments import Count, checked_arguments

NAMESPACE = "turngym"
PROPOSAL = "turngym-selfplay/Proposal-v0"
"""The proposer's role in self-play, with another environment as its argument: none of the suite's own."""
ANNOUNCE = WrapperSpec("AnnounceTurnLimit", "turngym.envs.core:AnnounceTurnLimit", {})
"""Belongs outside of `TimeLimit`."""


@checked_arguments
def register(
    env_id: str, entry_point: str | Callable[..., gym.Env[str, str]], *, max_turns: Count, **kwargs: Any
) -> None:
    """Register a text environment; a second time changes nothing.

    Unlike with `gymnasium.register` alone, the turn limit is announced to the environment by `gymnasium.make` too.

    Args:
        env_id: Id with namespace and version, such as "turngym/FrozenLake-v0".
        entry_point: A `TextEnv` class, or where to find it, as "module:Class".
        max_turns: The turn limit, at least 1; enforced by `gymnasium.wrappers.TimeLimit`.
        **kwargs: Arguments of the class.
    """
    if env_id in gym.registry:
        return
    gym.register(
        env_id, entry_point=entry_point, max_episode_steps=max_turns, kwargs=kwargs, additional_wrappers=(ANNOUNCE,)
    )


def env_ids() -> list[str]:
    """Return the ids of all registered environments of the suite, sorted."""
    return sorted(env_id for env_id in gym.registry if env_id.startswith(f"{NAMESPACE}/"))


def register_all() -> None:
    """Register the suite."""
    lake = "turngym.envs.frozen_lake:FrozenLakeEnv"
    register("turngym/FrozenLake-v0", lake, max_turns=10)
    register("turngym/FrozenLakeSlippery-v0", lake, max_turns=10, success_rate=1 / 3)
    register("turngym/FrozenLakeWindy-v0", lake, max_turns=10, frozen_probability=0.9, success_rate=0.8)
    register("turngym/FrozenLake8x8-v0", lake, max_turns=30, size=8, action_budget=30)
    countdown = "turngym.envs.countdown:CountdownEnv"
    register("turngym/Countdown-v0", countdown, max_turns=5)
    register("turngym/Countdown4-v0", countdown, max_turns=5, num_numbers=4)
    register("turngym/CountdownSteps-v0", "turngym.envs.countdown_steps:CountdownStepsEnv", max_turns=6)
    multiplication_steps = "turngym.envs.multiplication_steps:MultiplicationStepsEnv"
    register("turngym/Multiplication-v0", "turngym.envs.multiplication:MultiplicationEnv", max_turns=4)
    register("turngym/MultiplicationSteps-v0", multiplication_steps, max_turns=5)
    register("turngym/MultiplicationSteps3x3-v0", multiplication_steps, max_turns=7, digits=(3, 3))
    shop = "turngym.envs.webshop:WebShopEnv"
    register("turngym/WebShop-v0", shop, max_turns=15)
    # The protocol of GiGPO (Feng et al., arXiv 2505.10978) and of the original's baselines.
    register("turngym/WebShopGiGPO-v0", shop, max_turns=15, mode="faithful", observation_mode="quoted",
             reward_scheme="binary_x10", show_actions=True, history=2)  # fmt: skip
    register("turngym/WebShopOriginal-v0", shop, max_turns=100, mode="faithful", goals="human")
    register(PROPOSAL, "turngym.envs.proposing:ProposalEnv", max_turns=1)
