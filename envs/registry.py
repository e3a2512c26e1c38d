"""Every environment of the suite, registered with Gymnasium under the `turngym/` namespace."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

NAMESPACE = "turngym"


def register(name: str, entry_point: str, *, max_turns: int, **kwargs: Any) -> None:
    """Register one environment; importing the package again changes nothing.

    Args:
        name: Name and version without the namespace, such as "FrozenLake-v0".
        entry_point: "module:Class" of a `TextEnv`.
        max_turns: The turn limit, enforced by `gymnasium.wrappers.TimeLimit` and announced to the environment.
        **kwargs: Arguments of the class.
    """
    env_id = f"{NAMESPACE}/{name}"
    if env_id in gym.registry:
        return
    gym.register(
        env_id,
        entry_point=entry_point,
        max_episode_steps=max_turns,
        kwargs=kwargs,
        additional_wrappers=(WrapperSpec("AnnounceTurnLimit", "turngym.envs.core:AnnounceTurnLimit", {}),),
    )


def env_ids() -> list[str]:
    """Return the ids of all registered environments of the suite, sorted."""
    return sorted(env_id for env_id in gym.registry if env_id.startswith(f"{NAMESPACE}/"))


def register_all() -> None:
    """Register the suite."""
    lake = "turngym.envs.frozen_lake:FrozenLakeEnv"
    register("FrozenLake-v0", lake, max_turns=10)
    register("FrozenLakeSlippery-v0", lake, max_turns=10, success_rate=1 / 3)
    register("FrozenLakeWindy-v0", lake, max_turns=10, frozen_probability=0.9, success_rate=0.8)
    register("FrozenLake8x8-v0", lake, max_turns=30, size=8, action_budget=30)
    countdown = "turngym.envs.countdown:CountdownEnv"
    register("Countdown-v0", countdown, max_turns=5)
    register("Countdown4-v0", countdown, max_turns=5, num_numbers=4)
    register("CountdownSteps-v0", "turngym.envs.countdown_steps:CountdownStepsEnv", max_turns=6)
    multiplication_steps = "turngym.envs.multiplication_steps:MultiplicationStepsEnv"
    register("Multiplication-v0", "turngym.envs.multiplication:MultiplicationEnv", max_turns=4)
    register("MultiplicationSteps-v0", multiplication_steps, max_turns=5)
    register("MultiplicationSteps3x3-v0", multiplication_steps, max_turns=7, digits=(3, 3))
    shop = "turngym.envs.webshop:WebShopEnv"
    register("WebShop-v0", shop, max_turns=15)
    # The protocol of GiGPO (Feng et al., arXiv 2505.10978) and of the original's baselines.
    register("WebShopGiGPO-v0", shop, max_turns=15, mode="faithful", observation_mode="quoted",
             reward_scheme="binary_x10", show_actions=True, history=2)  # fmt: skip
    register("WebShopOriginal-v0", shop, max_turns=100, mode="faithful", goals="human")
