"""Playing many episodes at once: every slot holds one episode, and a finished one makes room for the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from turngym.agents.base import Agent, Reply
from turngym.agents.deadline import DeadlineCaller
from turngym.agents.episode import Episode, Status, Turn
from turngym.arguments import Index, checked
from turngym.envs.core import TextEnv, UnfitEnv
from turngym.envs.making import make_env, text_env
from turngym.envs.splits import Split

__all__ = ["Instance", "collect_episodes", "make_env", "text_env"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Which episode to play."""

    split: str
    """The split of the instance."""
    index: int
    """The instance within its split."""
    seed: int
    """Seeds the environment's chance and the agent's sampling; of any size."""

    def __post_init__(self) -> None:
        """Check the three.

        Raises:
            InputError: There is no such split, or a number is no whole number of at least 0.
        """
        for name, kind in {"split": Split, "index": Index, "seed": Index}.items():
            object.__setattr__(self, name, checked(getattr(self, name), kind, name))


def collect_episodes(
    agent: Agent,
    env_id: str,
    instances: Iterable[Instance],
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    slots: int = 128,
    on_episode: Callable[[Episode], None] | None = None,
    step_timeout: float | None = None,
    wrap: Callable[[gym.Env[str, str]], gym.Env[str, str]] | None = None,
) -> list[Episode]:
    """Play one episode of every instance and return them in the order given.

    An environment that raises costs its own episode, which is returned with status `error_environment`, or with
    `error_timeout` if what it raised is a `TimeoutError`; its slot goes on with a new environment. All environments are
    closed in the end.

    Args:
        agent: The agent.
        env_id: A registered text environment, as `turngym.envs.make_env` takes it.
        instances: What to play; drawn lazily.
        env_kwargs: Arguments for `turngym.envs.make_env`.
        slots: Episodes in progress at once.
        on_episode: Called with every finished episode, in order of finishing.
        step_timeout: How long an environment may take to be made, to reset or to step, seconds. One that takes longer
            is left behind in a thread, its episode ends with `error_timeout`. None waits for ever, without threads.
        wrap: Puts wrappers around each environment that is made.

    Raises:
        gymnasium.error.UnregisteredEnv: There is no such environment.
        UnfitEnv: It does not play in text, or says too little of itself.
    """
    waiting = enumerate(instances)
    env_slots: list[_EnvSlot] = []
    plays: dict[int, _Play] = {}
    finished: dict[int, Episode] = {}

    def end(number: int, episode: Episode) -> None:
        finished[number] = episode
        if on_episode:
            on_episode(episode)

    def fill(slot: int) -> bool:
        for number, instance in waiting:
            play = _begin(env_slots[slot], number, instance)
            if not play.episode.status.is_error():
                plays[slot] = play
                agent.start(slot, env_slots[slot].text_env(), play.observation, instance.seed)
                return True
            end(number, play.episode)
        return False

    try:
        for slot in range(slots):
            env_slots.append(_EnvSlot(env_id, dict(env_kwargs or {}), step_timeout, wrap))
            if not fill(slot):
                break
        while plays:
            busy = sorted(plays)
            for slot, reply in zip(busy, agent.act(busy), strict=True):
                play = plays[slot]
                if _advance(env_slots[slot], play, reply, agent.policy_version):
                    play.episode.token_ids = agent.finish(slot)
                    end(play.number, plays.pop(slot).episode)
                    fill(slot)
                else:
                    agent.observe(slot, play.observation)
    finally:
        for env_slot in env_slots:
            env_slot.close()
    return [finished[number] for number in sorted(finished)]


@dataclass(slots=True)
class _Play:
    """An episode in progress: its record, and the observation that waits for a reply."""

    number: int
    episode: Episode
    observation: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)


class _EnvSlot:
    """The environment of one slot: made when it is needed, replaced after it failed."""

    def __init__(
        self,
        env_id: str,
        env_kwargs: dict[str, Any],
        timeout: float | None,
        wrap: Callable[[gym.Env[str, str]], gym.Env[str, str]] | None,
    ) -> None:
        self.env_id = env_id
        self.env_kwargs = env_kwargs
        self._wrap = wrap
        self._timeout = timeout
        self._caller: DeadlineCaller | None = None
        self._env: gym.Env[str, str] | None = None

    def _make(self) -> gym.Env[str, str]:
        env = make_env(self.env_id, self.env_kwargs)
        return self._wrap(env) if self._wrap else env

    def reset(self, instance: Instance) -> tuple[str, Mapping[str, Any]]:
        """Bring the environment to the start of an instance."""
        if self._env is None:
            self._caller = DeadlineCaller(self._timeout) if self._timeout else None
            self._env = self._call(self._make)
        options = {"split": instance.split, "index": instance.index}
        observation, info = self._call(self._env.reset, seed=instance.seed, options=options)
        return _text(observation), info

    def step(self, action: str) -> tuple[str, float, bool, bool, Mapping[str, Any]]:
        """Play one reply."""
        assert self._env is not None
        observation, reward, terminated, truncated, info = self._call(self._env.step, action)
        return _text(observation), float(reward), bool(terminated), bool(truncated), info

    def text_env(self) -> TextEnv:
        """Return the environment without its wrappers."""
        assert self._env is not None
        return text_env(self._env)

    def close(self) -> None:
        """Close the environment, if there is one; a later reset makes another."""
        env, self._env = self._env, None
        if env is not None:
            with suppress(Exception):  # what was played before is not lost
                self._call(env.close)
        if self._caller is not None:
            self._caller.finish()
            self._caller = None

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._caller(function, *args, **kwargs) if self._caller else function(*args, **kwargs)


def _begin(env_slot: _EnvSlot, number: int, instance: Instance) -> _Play:
    """Start an episode, with an error status if the environment did not come to its start."""
    episode = Episode(env_id=env_slot.env_id, env_kwargs=dict(env_slot.env_kwargs), split=instance.split,
                      index=instance.index, seed=instance.seed)  # fmt: skip
    try:
        observation, info = env_slot.reset(instance)
    except (gym.error.UnregisteredEnv, UnfitEnv):
        raise
    except Exception as error:  # noqa: BLE001 - whatever an environment raises costs its own episode alone
        _fail(env_slot, episode, error)
        return _Play(number, episode)
    episode.instructions = env_slot.text_env().instructions
    return _Play(number, episode, observation, info)


def _advance(env_slot: _EnvSlot, play: _Play, reply: Reply, policy_version: int) -> bool:
    """Play one reply and record it; return whether the episode is over."""
    episode = play.episode
    if reply.out_of_room:
        episode.status = Status.TRUNCATED_LENGTH
        episode.final_observation = play.observation
        return True
    try:
        observation, reward, terminated, truncated, info = env_slot.step(reply.text)
        turn = Turn(
            observation=play.observation, action=reply.text, reward=_finite(reward, "reward"),
            task_reward=_finite(info["task_reward"], "task reward"), state_key=play.info["state_key"],
            potential=_finite(play.info["potential"], "potential"), valid=info["valid"],
            well_formed=info["well_formed"], cut=reply.cut, span=reply.span,
            logprobs=reply.logprobs, policy_version=policy_version,
        )  # fmt: skip
        success = bool(info["success"])
    except UnfitEnv:
        raise
    except Exception as error:  # noqa: BLE001 - whatever an environment raises costs its own episode alone
        _fail(env_slot, episode, error)
        return True
    episode.turns.append(turn)
    play.observation, play.info = observation, info
    if terminated or truncated:
        episode.status = Status.COMPLETED if terminated else Status.TRUNCATED_TURNS
        episode.success = success
        episode.final_observation = observation
    return terminated or truncated


def _fail(env_slot: _EnvSlot, episode: Episode, error: Exception) -> None:
    """Record an environment's failure and clear its slot."""
    episode.status = Status.ERROR_TIMEOUT if isinstance(error, TimeoutError) else Status.ERROR_ENVIRONMENT
    episode.error = f"{type(error).__name__}: {error}"
    env_slot.close()


def _finite(value: Any, name: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"the environment gave a {name} of {number}, which is not finite")
    return number


def _text(observation: object) -> str:
    if not isinstance(observation, str):
        raise TypeError(f"the environment observed a {type(observation).__name__}, not text")
    return observation
