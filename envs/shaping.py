"""Reward shaping as Gymnasium wrappers: a kind that leaves the best policy as it is, and a kind that does not.

The first does so for undiscounted returns. A learner that discounts by gamma sees another (1 - gamma) * Phi of every
state it comes to.

Both add to the reward of a turn and to nothing else: `info["task_reward"]` and `info["success"]` stay those of the
game, and what was added stands beside them in `info`, each kind under a key of its own. Wrappers may be stacked.

Example:
    >>> import gymnasium, turngym
    >>> from turngym.envs.shaping import PlainShaping, PotentialShaping
    >>> env = PotentialShaping(gymnasium.make("turngym/FrozenLake-v0"), weight=0.5)
    >>> env = PlainShaping(env, invalid_penalty=0.1)
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step("walk")
    >>> info["task_reward"], info["potential_shaping"], info["plain_shaping"]
    (0.0, 0.0, -0.1)
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import TimeLimit

from turngym._errors import InputError
from turngym.arguments import Finite, NonNegative, checked_arguments
from turngym.envs.core import TextEnv, is_wrapped

POTENTIAL_KEY = "potential_shaping"
"""The key of `info` under which `PotentialShaping` says what it added to the reward of the turn."""
PLAIN_KEY = "plain_shaping"
"""The key of `info` under which `PlainShaping` does."""

Potential = Callable[[Mapping[str, Any]], float]
"""From the `info` of a state to its potential."""


def potential_gains(potentials: Sequence[float]) -> list[float]:
    """Return Phi(after) - Phi(before) of every turn of an episode, with Phi = 0 after the last turn.

    Reference: Ng, Harada and Russell, 1999, theorem 1, with gamma = 1.

    Args:
        potentials: Phi of the state before each turn, in order.
    """
    return [after - before for before, after in pairwise([*potentials, 0.0])]


def plain_term(
    *, valid: bool, well_formed: bool, invalid_penalty: float, format_penalty: float, step_cost: float
) -> float:
    """Return what `PlainShaping` adds to the reward of a turn: never more than 0, and at most one penalty."""
    penalty = 0.0 if valid else invalid_penalty if well_formed else format_penalty
    return -(step_cost + penalty)


class _Shaping(gym.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Adds a term to the reward of every turn, and says so in `info`."""

    key: str

    def __init__(self, env: gym.Env[str, str], **arguments: Any) -> None:
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **arguments)
        gym.Wrapper.__init__(self, env)
        if not isinstance(env.unwrapped, TextEnv):
            raise TypeError(f"{type(self).__name__} needs a TextEnv inside, got {type(env.unwrapped).__name__}")

    @property
    @abstractmethod
    def reward_range(self) -> tuple[float, float]:
        """Bounds of the undiscounted return of an episode, shaping included."""

    @abstractmethod
    def _start(self, info: Mapping[str, Any]) -> None:
        """Take note of the start of an episode."""

    @abstractmethod
    def _term(self, info: Mapping[str, Any], *, over: bool) -> float:
        """Return what to add to the reward of the turn that led to `info` and may have ended the episode."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._start(info)
        return observation, {**info, self.key: info.get(self.key, 0.0)}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one reply."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        term = self._term(info, over=terminated or truncated)
        info = {**info, self.key: info.get(self.key, 0.0) + term}
        return observation, float(reward) + term, terminated, truncated, info

    def _inner_range(self) -> tuple[float, float]:
        low, high = self.env.get_wrapper_attr("reward_range")
        return float(low), float(high)


class PotentialShaping(_Shaping):
    """Adds `weight * (Phi(after) - Phi(before))` to the reward of every turn, which changes no undiscounted optimum.

    Phi is 0 after the last turn, whether the game ended or the turn limit cut it off. So the terms of an episode add up
    to `-weight * Phi(start)` whatever is played: every policy loses the same, and the best one stays the best. That
    holds for the KL-regularised objective too, for every reference and temperature: Q' = Q - weight * Phi and
    V' = V - weight * Phi. It does not hold for a discount below 1: learn without one.

    The last turn must be seen to be paid back, so this wrapper belongs outside of `TimeLimit`: around what
    `gymnasium.make` returns. An environment without `TimeLimit` is refused. A second limit that is put around this
    wrapper later, or an agent that stops early, cannot be seen from here and leaves the last potential paid out; the
    trainer's own `[shaping]` accounts for episodes that outgrow a model's context.

    Reference: Ng, Harada and Russell, "Policy invariance under reward transformations", 1999.

    Args:
        env: An environment with a `TextEnv` and a `TimeLimit` inside.
        potential: Phi of a state, from its `info`; it may depend on the turns left, which end `info["state_key"]`. None
            for the environment's own, `info["potential"]`.
        weight: Reward per unit of potential; any finite number.
        potential_range: Bounds of the potential, for `reward_range`.

    Raises:
        TypeError: There is no `TextEnv` inside.
        ValueError: There is no `TimeLimit` inside, or a number cannot be used. `reset` and `step` raise it where a
            potential is outside of its range.
    """

    key = POTENTIAL_KEY

    @checked_arguments
    def __init__(
        self,
        env: gym.Env[str, str],
        potential: Potential | None = None,
        weight: Finite = 1.0,
        potential_range: tuple[Finite, Finite] = (0.0, 1.0),
    ) -> None:
        super().__init__(env, potential=potential, weight=weight, potential_range=potential_range)
        if not is_wrapped(env, TimeLimit):
            raise ValueError(
                "PotentialShaping must stand outside of TimeLimit, to see the last turn: wrap what gymnasium.make "
                "returns, or put TimeLimit around the environment first"
            )
        low, high = potential_range
        if low > high:
            raise InputError(f"potential_range must have its lower bound first, got {potential_range}")
        self.potential = potential
        self.weight = weight
        self.potential_range = (low, high)
        self._before = 0.0

    @property
    def reward_range(self) -> tuple[float, float]:
        """Bounds of the undiscounted return of an episode, shaping included: the start's potential is all that goes."""
        low, high = self._inner_range()
        charges = [self.weight * bound for bound in self.potential_range]
        return low - max(charges), high - min(charges)

    def _start(self, info: Mapping[str, Any]) -> None:
        self._before = self._measure(info)

    def _term(self, info: Mapping[str, Any], *, over: bool) -> float:
        potentials = [self._before] if over else [self._before, self._measure(info)]
        self._before = 0.0 if over else potentials[-1]
        return self.weight * potential_gains(potentials)[0]

    def _measure(self, info: Mapping[str, Any]) -> float:
        potential = float(info["potential"] if self.potential is None else self.potential(info))
        low, high = self.potential_range
        if not low <= potential <= high:
            raise ValueError(f"the potential {potential} is outside of potential_range {self.potential_range}; "
                             "give PotentialShaping the bounds that hold")  # fmt: skip
        return potential


class PlainShaping(_Shaping):
    """Takes a fixed amount for every turn, and for every unusable reply. This changes the optimum.

    These terms are part of what is optimised: with a step cost a short failure may beat a long success, and with a
    penalty an agent that is unsure of the form avoids the states in which forms are hard. Judge an agent by
    `info["success"]` and `info["task_reward"]`, which do not contain them.

    An unusable reply costs one of the two penalties, never both: which one, `info["well_formed"]` says.

    Args:
        env: An environment with a `TextEnv` inside.
        invalid_penalty: Reward taken for a well-formed reply that the game refuses, at least 0.
        step_cost: Reward taken for every turn, at least 0.
        format_penalty: Reward taken for a reply that is not well formed, at least 0.

    Raises:
        TypeError: There is no `TextEnv` inside.
        ValueError: An amount is negative or not finite.
    """

    key = PLAIN_KEY

    @checked_arguments
    def __init__(
        self,
        env: gym.Env[str, str],
        invalid_penalty: NonNegative = 0.0,
        step_cost: NonNegative = 0.0,
        format_penalty: NonNegative = 0.0,
    ) -> None:
        super().__init__(env, invalid_penalty=invalid_penalty, step_cost=step_cost, format_penalty=format_penalty)
        self.invalid_penalty = invalid_penalty
        self.step_cost = step_cost
        self.format_penalty = format_penalty

    @property
    def reward_range(self) -> tuple[float, float]:
        """Bounds of the undiscounted return of an episode, shaping included; without a turn limit it has no lower."""
        low, high = self._inner_range()
        inside = self.env.unwrapped
        assert isinstance(inside, TextEnv)
        turns = math.inf if inside.turn_limit is None else inside.turn_limit
        worst = max(self.invalid_penalty, self.format_penalty) + self.step_cost
        return (low - turns * worst if worst else low), high

    def _start(self, info: Mapping[str, Any]) -> None:
        pass

    def _term(self, info: Mapping[str, Any], *, over: bool) -> float:
        return plain_term(
            valid=info["valid"], well_formed=info["well_formed"], invalid_penalty=self.invalid_penalty,
            format_penalty=self.format_penalty, step_cost=self.step_cost,
        )  # fmt: skip
