"""Potentials by name: other measures of progress than an environment's own, for shaping and for stage 1.

Example:
    >>> import gymnasium, turngym
    >>> from turngym.envs.potentials import ReplacePotential, register_potential
    >>> @register_potential("turns-left")
    ... def turns_left(env):
    ...     return (env.turns_left or 0) / 100
    >>> env = ReplacePotential(gymnasium.make("turngym/FrozenLake-v0"), "turns-left")
    >>> env.reset(seed=0)[1]["potential"]
    0.1
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, TypeVar

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from turngym.envs.core import TextEnv
from turngym.names import accepts, check_name, enter, find

StatePotential = Callable[[TextEnv], float]
"""From an environment in a state that is not terminal to the progress there, in [0, 1]."""

Function = TypeVar("Function", bound=StatePotential)

POTENTIALS: dict[str, StatePotential] = {}
"""Registered potentials, by name."""


def register_potential(name: str) -> Callable[[Function], Function]:
    """Register a function as a potential that `ReplacePotential` knows by its name.

    Args:
        name: Letters, digits, "-" and "_".

    Returns:
        A decorator for a function from a `TextEnv` to a number in [0, 1]. It is called after every reset and every step
        that does not end the game, and must not change the environment.

    Raises:
        ValueError: The name cannot be used; the decorator raises it where the name belongs to another potential.
    """
    check_name("potential", name)

    def register(function: Function) -> Function:
        if not accepts(function, None):
            raise ValueError(f"the potential {name!r} must be a function of the environment, got {function!r}")
        potential: StatePotential = function
        enter(POTENTIALS, "potential", name, potential)
        return function

    return register


def find_potential(name: str) -> StatePotential:
    """Return a registered potential.

    Raises:
        ValueError: There is none of this name; the message names the nearest.
    """
    if not POTENTIALS:
        raise ValueError(f"there is no potential {name!r}: none is registered; see "
                         "turngym.envs.potentials.register_potential")  # fmt: skip
    return find(POTENTIALS, "potential", name)


class ReplacePotential(gym.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Puts a registered potential into `info["potential"]` in place of the environment's own.

    It is 0 once the game has terminated, as every potential. A `PotentialShaping` around this wrapper pays by it.

    Args:
        env: An environment with a `TextEnv` inside.
        potential: The name of a registered potential.

    Raises:
        ValueError: There is no such potential; `reset` and `step` raise it where the potential is something else than a
            number in [0, 1].
        TypeError: There is no `TextEnv` inside.
    """

    def __init__(self, env: gym.Env[str, str], potential: str) -> None:
        RecordConstructorArgs.__init__(self, potential=potential)
        gym.Wrapper.__init__(self, env)
        if not isinstance(env.unwrapped, TextEnv):
            raise TypeError(f"ReplacePotential needs a TextEnv inside, got {type(env.unwrapped).__name__}")
        self.potential = potential
        self._text_env = env.unwrapped
        self._measure = find_potential(potential)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "potential": self._measured()}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one reply."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {**info, "potential": 0.0 if terminated else self._measured()}
        return observation, float(reward), terminated, truncated, info

    def _measured(self) -> float:
        value: Any = self._measure(self._text_env)
        number = float(value) if isinstance(value, Real) else math.nan
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"the potential {self.potential!r} must be a number in [0, 1], but it returned {value!r}")
        return number
