"""`turngym webshop replay`: recorded episodes, done again on a site, where its operator sees them step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import gymnasium as gym
from rich.console import Console
from rich.markup import escape
from tyro.conf import Positional, arg

from turngym.agents.episode import Episode, read_episodes
from turngym.agents.replaying import ReplayError
from turngym.agents.replaying import replay as replay_episode
from turngym.cli.errors import UsageError
from turngym.cli.options import parse
from turngym.credentials import without_credentials
from turngym.envs.making import make_env, played_class, text_env, turn_limit
from turngym.envs.webshop import ABOUT_THE_SHOP, WebShopEnv
from turngym.webshop_server.shop import RemoteSession


@dataclass(frozen=True)
class ReplayOptions:
    """Do recorded episodes again on a site of `turngym webshop serve`, where the operator sees them step by step.

    The operator's key stands in the environment variable TURNGYM_WEBSHOP_KEY or in the address.
    """

    episodes: Annotated[Positional[Path], arg(metavar="FILE")]
    """Episodes of WebShop, as `turngym rollout` writes them."""
    url: str = "http://127.0.0.1:3000"
    """The site, whose shop must be the one in which they were played."""
    limit: int = 20
    """How many, the first of the file."""


def run(words: Sequence[str], console: Console) -> int:
    """Replay episodes and print where each is seen."""
    options = parse(ReplayOptions, words, command="webshop replay")
    if options.limit < 1:
        raise UsageError(f"--limit takes at least 1, not {options.limit}")
    try:
        episodes = list(islice(read_episodes(options.episodes), options.limit))
    except (OSError, ValueError) as error:
        raise UsageError(f"{options.episodes} cannot be read: {error}") from error
    if not episodes:
        raise UsageError(f"{options.episodes} holds no episode")
    for number, episode in enumerate(episodes, start=1):
        name = replay(episode, options.url, where=f"{options.episodes}:{number}")
        what = "all that was wished for" if episode.success else f"earned {episode.task_return:g}"
        console.print(f"{escape(without_credentials(options.url))}/operator/{quote(name)}  {episode.split} "
                      f"{episode.index}: {len(episode.turns)} turns, {what}", soft_wrap=True)  # fmt: skip
    return 0


def replay(episode: Episode, url: str, where: str) -> str:
    """Do an episode again in a session on a site, which stays there; return the name of the session.

    Args:
        episode: The episode.
        url: The address of the site.
        where: What to call the episode in a message.

    Raises:
        UsageError: It is no episode of WebShop, or was played in another shop.
    """
    if not issubclass(played_class(episode.env_id, episode.env_kwargs), WebShopEnv):
        raise UsageError(f"{where} is an episode of {episode.env_id}, which is no shop")
    given = {**gym.spec(episode.env_id).kwargs, **episode.env_kwargs}
    arguments = {name: value for name, value in given.items() if name not in ABOUT_THE_SHOP}
    arguments |= {"url": url, "max_episode_steps": turn_limit(episode.env_id, episode.env_kwargs)}
    env = make_env("turngym/WebShop-v0", arguments)
    try:
        for _ in replay_episode(env, episode):
            pass
    except ReplayError as error:
        raise UsageError(
            f"{where} was played in another shop than that at {without_credentials(url)}: serve that one, by the "
            "same --catalogue, --num-products, --goals, --mode and --seed"
        ) from error
    inside = text_env(env)
    assert isinstance(inside, WebShopEnv)
    assert isinstance(inside.session, RemoteSession)
    return inside.session.name
