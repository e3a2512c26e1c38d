"""Playing many episodes at once: every slot holds one episode, and a finished one makes room for the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from turngym.agents.base import Agent, Reply
from turngym.agents.episode import Episode, Status, Turn
from turngym.envs.core import TextEnv


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Which episode to play."""

    split: str
    """The split of the instance."""
    index: int
    """The instance within its split."""
    seed: int
    """Seeds the environment's chance and the player's sampling."""


@dataclass(slots=True)
class _Play:
    """An episode in progress: its environment, its record, and the observation that waits for a reply."""

    env: gym.Env[str, str]
    episode: Episode
    observation: str
    info: Mapping[str, Any]


def make_env(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> gym.Env[str, str]:
    """Make one environment for rollouts, without gymnasium's per-step checks (the test suite runs them)."""
    return gym.make(env_id, disable_env_checker=True, **(env_kwargs or {}))


def text_env(env: gym.Env[str, str]) -> TextEnv:
    """Return the `TextEnv` inside the wrappers.

    Raises:
        TypeError: It is another kind of environment.
    """
    inner = env.unwrapped
    if not isinstance(inner, TextEnv):
        raise TypeError(f"{type(inner).__name__} is not a TextEnv; rollouts play text environments only")
    return inner


def collect_episodes(
    agent: Agent,
    env_id: str,
    instances: Iterable[Instance],
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    slots: int = 128,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Play one episode of every instance and return them in the order given.

    An environment that raises costs its own episode, which is returned with status `error_environment`; its slot goes
    on with a new environment.

    Args:
        agent: The player.
        env_id: A registered text environment.
        instances: What to play; drawn lazily.
        env_kwargs: Arguments for `gymnasium.make`.
        slots: Episodes in progress at once.
        on_episode: Called with every finished episode, in order of finishing.
    """
    waiting = enumerate(instances)
    envs: dict[int, gym.Env[str, str]] = {}
    plays: dict[int, _Play] = {}
    order: dict[int, int] = {}
    finished: dict[int, Episode] = {}

    def close(slot: int, episode: Episode) -> None:
        finished[order.pop(slot)] = episode
        plays.pop(slot, None)
        if episode.status.is_error():
            envs.pop(slot, None)
        if on_episode:
            on_episode(episode)

    def fill(slot: int) -> bool:
        for number, instance in waiting:
            order[slot] = number
            episode = Episode(
                env_id=env_id, env_kwargs=dict(env_kwargs or {}), split=instance.split, index=instance.index,
                seed=instance.seed,
            )  # fmt: skip
            try:
                env = envs[slot] if slot in envs else envs.setdefault(slot, make_env(env_id, env_kwargs))
                observation, info = env.reset(
                    seed=instance.seed, options={"split": instance.split, "index": instance.index}
                )
            except Exception as error:  # noqa: BLE001 - whatever an environment raises costs its own episode alone
                close(slot, _failed(episode, error))
                continue
            episode.instructions = text_env(env).instructions
            plays[slot] = _Play(env, episode, observation, info)
            agent.start(slot, text_env(env), observation, instance.seed)
            return True
        return False

    for slot in range(slots):
        if not fill(slot):
            break
    while plays:
        busy = sorted(plays)
        for slot, reply in zip(busy, agent.act(busy), strict=True):
            play = plays[slot]
            over = _advance(play, reply, agent.policy_version)
            if over:
                play.episode.token_ids = agent.finish(slot)
                close(slot, play.episode)
                fill(slot)
            else:
                agent.observe(slot, play.observation)
    return [finished[number] for number in sorted(finished)]


def _advance(play: _Play, reply: Reply, policy_version: int) -> bool:
    """Play one reply and record it; return whether the episode is over."""
    episode = play.episode
    if reply.out_of_room:
        episode.status = Status.TRUNCATED_LENGTH
        episode.final_observation = play.observation
        return True
    observation, before = play.observation, play.info
    try:
        play.observation, reward, terminated, truncated, play.info = play.env.step(reply.text)
    except Exception as error:  # noqa: BLE001 - whatever an environment raises costs its own episode alone
        play.episode = _failed(episode, error)
        return True
    turn = Turn(
        observation=observation, action=reply.text, reward=float(reward), task_reward=play.info["task_reward"],
        state_key=before["state_key"], potential=before["potential"], valid=play.info["valid"], span=reply.span,
        logprobs=reply.logprobs, policy_version=policy_version,
    )  # fmt: skip
    episode.turns.append(turn)
    if terminated or truncated:
        episode.status = Status.COMPLETED if terminated else Status.TRUNCATED_TURNS
        episode.success = play.info["success"]
        episode.final_observation = play.observation
    return terminated or truncated


def _failed(episode: Episode, error: Exception) -> Episode:
    episode.status = Status.ERROR_ENVIRONMENT
    episode.error = f"{type(error).__name__}: {error}"
    return episode
