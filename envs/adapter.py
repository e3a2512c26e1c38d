"""Text environments that were written for Gymnasium alone, as environments of this suite."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from copy import deepcopy
from numbers import Real
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from turngym.arguments import Finite, checked_arguments
from turngym.envs.answers import as_number, as_truth
from turngym.envs.core import MAX_OBSERVATION_CHARS, TextEnv, UnfitEnv
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import SPLITS, Split

NUM_SEEDS = 2**31 // len(SPLITS)
"""Instances of a split, after which they begin anew: seeds stay below 2**31, which every generator takes."""
ASSUMED_RANGE = (0.0, 1.0)
ROUNDING = 1e-9
"""By how much a sum of rewards may miss a bound."""


class AdaptedTextEnv(TextEnv):
    """Any Gymnasium environment whose observations and actions are text, as a `TextEnv`.

    `turngym.envs.make_env` adapts by itself, with what the arguments whose names begin with `adapter_` say.

    An instance is a seed of the environment inside and all that follows from it, chance included. Seeds are a function
    of split and index, and no two splits share one; whether two seeds give the same game, only that game knows.

    Success is judged at the end: by the last `info["success"]`, or else by whether the return has reached
    `success_threshold`. Where the environment inside truncates an episode, the game is over. The turn limit counts
    outside, so that a refused reply costs its turn. Replies outside of the action space inside are refused.

    Args:
        env: The environment, best without a time limit of its own.
        success_threshold: The least return that counts as success; by default the `reward_threshold` that the
            environment is registered with, if any.
        rules: The rules of the game and the form of an action; by default `metadata["rules"]`, or else the first
            paragraph of the docstring of the environment's class.
        reward_range: Bounds of the return of an episode; by default the attribute of this name where it is finite, or
            else (0, 1). A return outside is an error.
        split: As of `TextEnv`.
        reasoning: As of `TextEnv`.
        render_mode: As of `TextEnv`.

    Raises:
        UnfitEnv: Observations or actions are no text, or `reward_range` is none. In play: the environment says nothing
            of success and there is no threshold, or a return is out of range.
    """

    @checked_arguments
    def __init__(
        self,
        env: gym.Env[str, str],
        *,
        success_threshold: Finite | None = None,
        rules: str | None = None,
        reward_range: Sequence[float] | None = None,
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, reasoning=reasoning, render_mode=render_mode)
        self._name = type(env.unwrapped).__name__
        observed, acted = (getattr(env, name, None) for name in ("observation_space", "action_space"))
        if not (_holds_text(observed) and _holds_text(acted)):
            raise UnfitEnv(f"{self._name} is no text environment: observations and actions must be str, such as of "
                           f"gymnasium.spaces.Text, and its spaces are {_described(observed)} and {_described(acted)}; "
                           "wrap it with TransformObservation and TransformAction of gymnasium.wrappers, as "
                           "docs/your_own.md says")  # fmt: skip
        registered = env.spec.reward_threshold if env.spec else None
        self.inner = env
        self.success_threshold = registered if success_threshold is None else success_threshold
        self.deterministic = not (env.spec and env.spec.nondeterministic)
        self.reward_range = self._chosen_range(reward_range)
        self._text = _first_paragraph(env) if rules is None else rules

    def close(self) -> None:
        """Close the environment inside."""
        self.inner.close()

    # The game ---------------------------------------------------------------------------------------------------

    @property
    def _rules(self) -> str:
        return self._text

    def _begin(self, split: Split, index: int) -> None:
        self._seed = SPLITS.index(split) + len(SPLITS) * (index % NUM_SEEDS)
        self._over, self._return = False, 0.0
        self._told: bool | None = None
        """The last `info["success"]` that was not None."""
        observation, info = self._parts(self.inner.reset(seed=self._seed), "reset", ("observation", "info"))
        self._take(observation, info)

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self._over:
            raise InvalidAction("the game is over")
        if not self.inner.action_space.contains(action):
            raise InvalidAction(f"an action must be in {self.inner.action_space}")
        parts = ("observation", "reward", "terminated", "truncated", "info")
        observation, reward, terminated, truncated, info = self._parts(self.inner.step(action), "step", parts)
        self._over = as_truth(terminated, "terminated") or as_truth(truncated, "truncated")
        earned = as_number(reward, "reward")
        self._return += earned
        if not math.isfinite(self._return):
            raise ValueError(f"{self._name} gave a reward of {reward}, with which the return is not finite")
        self._take(observation, info)
        if self._ended:
            self._check_return()
        return earned, self._over, ""

    def _parts(self, answer: Any, method: str, parts: Sequence[str]) -> tuple[Any, ...]:
        """Return what a method of the environment inside answered, if it is what Gymnasium demands."""
        if isinstance(answer, tuple) and len(answer) == len(parts) and isinstance(answer[-1], dict):
            return answer
        raise UnfitEnv(f"{self._name}.{method} must return ({', '.join(parts)}), got {repr(answer)[:80]}")

    def _take(self, observation: str, info: dict[str, Any]) -> None:
        """Keep what the environment inside said."""
        if not isinstance(observation, str):
            raise UnfitEnv(f"{self._name} observed a {type(observation).__name__}, not text")
        self._seen = observation
        if info.get("success") is not None:
            self._told = as_truth(info["success"], "success")

    def _observe(self, feedback: str) -> str:
        seen = f"{feedback}\n{self._seen}" if feedback else self._seen
        return seen[:MAX_OBSERVATION_CHARS]

    # What the suite reads ---------------------------------------------------------------------------------------

    @property
    def instance_key(self) -> str:
        """The seed that the environment inside was reset with."""
        return f"seed={self._seed}"

    @property
    def _ended(self) -> bool:
        return self._over or self.turns_left == 0

    @property
    def _success(self) -> bool:
        if not self._ended:
            return False
        if self._told is not None:
            return self._told
        if self.success_threshold is not None:
            return self._return >= self.success_threshold - ROUNDING
        if not self._over:  # it may tell of success at its own end alone
            return False
        raise UnfitEnv(f"{self._name} says nothing of success: let its info hold 'success', or give the least return "
                       "that counts as success, as adapter_success_threshold or as Gymnasium's reward_threshold when "
                       "it is registered")  # fmt: skip

    def _check_return(self) -> None:
        low, high = self.reward_range
        if not low - ROUNDING <= self._return <= high + ROUNDING:
            raise UnfitEnv(f"the return {self._return:g} of {self._name} is outside of its reward_range {low:g} to "
                           f"{high:g}; give the bounds that hold as adapter_reward_range")  # fmt: skip

    def _chosen_range(self, given: Sequence[float] | None) -> tuple[float, float]:
        declared = getattr(self.inner.unwrapped, "reward_range", None)
        bounds: Any = given if given is not None else declared if is_range(declared) else ASSUMED_RANGE
        if not is_range(bounds):
            raise UnfitEnv(f"reward_range must be two finite numbers, the lower first and not equal, got {bounds!r}")
        low, high = bounds
        return float(low), float(high)


def is_range(bounds: Any) -> bool:
    """Whether something is two finite numbers, the lower first; temperatures are in units of what lies between."""
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        return False
    return all(isinstance(bound, Real) and math.isfinite(bound) for bound in bounds) and bounds[0] < bounds[1]


def _holds_text(space: object) -> bool:
    # A copy, because a sample moves the generator of the space.
    return isinstance(space, spaces.Text) or (
        isinstance(space, spaces.Space) and isinstance(deepcopy(space).sample(), str)
    )


def _described(space: object) -> str:
    """Return the kind of a space and its shape, without its numbers."""
    if not isinstance(space, spaces.Space):
        return repr(space)
    return type(space).__name__ + (f" of shape {space.shape}" if space.shape else "")


def _first_paragraph(env: gym.Env[str, str]) -> str:
    """Return what an environment says of its own rules, empty where it says nothing."""
    page = inspect.cleandoc(type(env.unwrapped).__doc__ or "")
    return str(env.metadata.get("rules") or " ".join(page.partition("\n\n")[0].split()))
