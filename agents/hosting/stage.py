"""One environment, the agent that looks into it, and the calls that both take part in; everything else is a host's."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np

import turngym
from turngym._errors import WorkError
from turngym.agents.base import Agent, Instance
from turngym.credentials import redacted
from turngym.envs.answers import as_number, as_truth
from turngym.envs.capabilities import MissingCapability, Optimum
from turngym.envs.core import LENIENT_KEY, TextEnv, TurnInfo, UnfitEnv
from turngym.envs.finding import MAIN_THREAD
from turngym.envs.making import make_env, text_env

CALLERS_FAULTS = (gym.error.UnregisteredEnv, MissingCapability, WorkError)
"""What says that nothing can be played this way at all: raised by the rollout instead of counted as its episode's. So
is `UnfitEnv` where it is raised in making an environment; in play it is a fault of that play."""
LONGEST_REASON = 2_000
"""Characters of an error that are kept."""
SIGNAL_HINT = "; environments that catch signals need no limit (step_timeout inf)"

Method = Literal["begin", "turn", "optimum", "close"]


@dataclass(frozen=True, kw_only=True)
class Game:
    """What a rollout plays."""

    env_id: str
    """As of `turngym.envs.make_env`."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """As of `turngym.envs.make_env`."""
    wrap: Callable[[gym.Env[str, str]], gym.Env[str, str]] | None = None
    """Puts wrappers around the environment."""
    agent: Agent | None = None
    """The agent that looks into the environment and so plays beside it, if it is of this kind."""

    def make(self) -> gym.Env[str, str]:
        """Make the environment."""
        env = make_env(self.env_id, self.env_kwargs)
        return self.wrap(env) if self.wrap else env


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The start of an episode."""

    instructions: str
    """The rules."""
    reasoning: bool
    """Whether a reply may hold thoughts, its action standing in an `<answer>` block."""
    observation: str
    """The first observation."""
    state_key: str
    """As of `TurnInfo`."""
    potential: float
    """As of `TurnInfo`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a turn; the fields that are not described here are those of `TurnInfo`."""

    action: str
    """What was played."""
    observation: str
    """The answer to it."""
    reward: float
    """The reward, shaping included."""
    terminated: bool
    """Whether the game ended."""
    truncated: bool
    """Whether the turn limit cut it off."""
    task_reward: float
    state_key: str
    potential: float
    valid: bool
    well_formed: bool
    success: bool
    lenient: bool = False
    """Whether only the lenient reading made the reply usable."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """The finite numbers of `info` beyond `TurnInfo` where the episode ended, such as the parts of a reward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A call that failed, at the cost of its own episode."""

    reason: str
    """What went wrong, on one line."""
    timeout: bool = False
    """Whether it took too long."""
    place: str = ""
    """File and line of the environment's code that raised, if any did."""
    unfit: bool = False
    """Whether the environment does not keep its contract, which is likely to hold of other episodes too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """An episode whose environment was lost by no fault of its own; it can begin anew."""

    reason: str
    """What happened to the process that it was in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One of `CALLERS_FAULTS` on its way from another process, where alone its contents may be found."""

    kind: type[BaseException]
    """Its class."""
    message: str
    """What it says."""

    def error(self) -> BaseException:
        """Return an exception of this class that says the same."""
        copy = self.kind.__new__(self.kind)
        copy.args = (self.message,)
        return copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """A process that environments were in has ended; another one goes on in its place, without them."""

    reason: str
    """How it came to its end."""


Result = Opening | Outcome | Failed | Interrupted | float | None
"""Of "begin", of "turn", of either, and of "optimum" and "close"."""


class Stage:
    """The environment of one slot: made when it is needed, replaced after it failed. Knows no threads and no limits.

    Args:
        game: What is played.
        slot: The slot of the agent.
    """

    def __init__(self, game: Game, slot: int) -> None:
        self._game, self._slot, self._agent = game, slot, game.agent
        self._env: gym.Env[str, str] | None = None

    def call(self, method: Method, *arguments: Any) -> Result:
        """Call a method, and return what it raises as `Failed`; the environment is then closed and forgotten.

        Raises:
            BaseException: One of `CALLERS_FAULTS`, `UnfitEnv` where no environment could be made, or Ctrl-C.
        """
        try:
            result: Result = getattr(self, method)(*arguments)
        except (*CALLERS_FAULTS, KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever an environment raises costs its own episode alone
            if isinstance(error, UnfitEnv) and self._env is None:
                raise
            self.close()
            return Failed(reason=reason_of(error), timeout=isinstance(error, TimeoutError), place=place_of(error),
                          unfit=isinstance(error, UnfitEnv))  # fmt: skip
        return result

    def begin(self, instance: Instance) -> Opening:
        """Bring the environment to the start of an instance, and the agent into it."""
        observation, info = self._reset(instance)
        env = self.text_env()
        opening = Opening(instructions=env.instructions, reasoning=env.reasoning, observation=observation,
                          state_key=_text(info["state_key"], "state key"),
                          potential=_finite(info["potential"], "potential"))  # fmt: skip
        if self._agent:
            self._agent.start(self._slot, env, observation, instance.seed)
        return opening

    def turn(self, action: str | None) -> Outcome:
        """Play one reply, or let the agent choose it."""
        assert self._env is not None
        played = self._agent.act([self._slot])[0].text if self._agent and action is None else str(action)
        observation, reward, terminated, truncated, info = self._env.step(played)
        outcome = Outcome(
            action=played, observation=_text(observation, "observation"), reward=_finite(reward, "reward"),
            terminated=as_truth(terminated, "terminated"), truncated=as_truth(truncated, "truncated"),
            task_reward=_finite(info["task_reward"], "task reward"), state_key=_text(info["state_key"], "state key"),
            potential=_finite(info["potential"], "potential"), valid=as_truth(info["valid"], "valid"),
            well_formed=as_truth(info["well_formed"], "well_formed"), success=as_truth(info["success"], "success"),
            lenient=as_truth(info.get(LENIENT_KEY, False), "lenient"),
            measures=_measures(info) if terminated or truncated else {},
        )  # fmt: skip
        if self._agent and (outcome.terminated or outcome.truncated):
            self._agent.finish(self._slot)
        elif self._agent:
            self._agent.observe(self._slot, observation)
        return outcome

    def optimum(self, instance: Instance) -> float | None:
        """Return the probability that the best agent solves an instance; None where it is unknown."""
        self._reset(instance)
        env = self.text_env()
        told = env.optimal_success() if isinstance(env, Optimum) else None
        if told is None:
            return None
        chance = as_number(told, "optimal_success")
        if not 0.0 <= chance <= 1.0:
            raise ValueError(f"optimal_success must be None or in [0, 1], got {chance!r}")
        return chance

    def close(self) -> None:
        """Close the environment, if there is one, whatever it raises; a later call makes another."""
        env, self._env = self._env, None
        if self._agent:
            self._agent.finish(self._slot)
        if env is not None:
            with suppress(Exception, SystemExit):  # what was played before is not lost
                env.close()

    def leave(self) -> None:
        """Take the agent away from a call that hangs, since its slot goes on with another stage."""
        self._agent = None

    def text_env(self) -> TextEnv:
        """Return the environment without its wrappers."""
        assert self._env is not None
        return text_env(self._env)

    def _reset(self, instance: Instance) -> tuple[str, Mapping[str, Any]]:
        if self._env is None:
            self._env = self._game.make()
        observation, info = self._env.reset(
            seed=instance.seed, options={"split": instance.split, "index": instance.index}
        )
        return _text(observation, "observation"), info


def reason_of(error: BaseException) -> str:
    """Return the name and the message of an exception on one line, without secrets of addresses."""
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 - an environment's exceptions are its own code too
        message = "(its message cannot be read)"
    hint = SIGNAL_HINT if MAIN_THREAD in message else ""
    return redacted(" ".join(f"{type(error).__name__}: {message}".split()))[:LONGEST_REASON] + hint


def place_of(error: BaseException) -> str:
    """Return file and line of the code that raised an exception; empty where that is this package."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or frames[-1].filename.startswith(str(Path(turngym.__file__).parent)):
        return ""
    return f"{Path(frames[-1].filename).name} line {frames[-1].lineno}"


def _finite(value: Any, name: str) -> float:
    number = as_number(value, f"{name} of the environment")
    if not math.isfinite(number):
        raise ValueError(f"the environment gave a {name} of {number}, which is not finite")
    return number


def _measures(info: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite real numbers of `info` that not every environment has; truths are none."""
    measures = {}
    for key, value in info.items():
        if key in TurnInfo.__annotations__ or isinstance(value, bool | np.timedelta64):
            continue
        if isinstance(value, int | float | np.integer | np.floating):
            with suppress(OverflowError):  # an integer beyond the largest float is left out as infinity is
                if math.isfinite(number := float(value)):
                    measures[str(key)] = number
    return measures


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the {name} of the environment is of type {type(value).__name__}, not text")
    return value
