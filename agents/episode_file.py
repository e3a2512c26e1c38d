"""A file of episodes that goes on after a stop: what was played by the same agent is not played again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from turngym._errors import InputError
from turngym.agents.base import Agent, Instance
from turngym.agents.episode import Episode, read_episodes, write_episodes
from turngym.agents.rollout import collect_episodes
from turngym.credentials import without_credentials
from turngym.strict_json import dumps


class EpisodeFile:
    """A JSONL file of episodes, each with who played it.

    A line that a stop has torn is cut off. Episodes of other agents, games or seeds may stand in the file and stay
    there. Episodes that ended in an error of the environment are played again, behind those.

    Args:
        path: The file.
        resume: Whether it may exist, and what it holds counts.

    Raises:
        InputError: It exists and may not, or a line of it is no episode.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        self._known: dict[str, Episode] = {}
        self.others = 0
        """Lines that were of other agents, games or seeds when episodes were last looked for."""
        if not path.exists():
            return
        if not resume:
            raise InputError(f"{path} exists already; name another file with --out, or go on with it by --resume")
        _cut_torn_line(path)
        try:
            for episode in read_episodes(path):
                if not episode.status.is_error():
                    self._known[_key(episode)] = episode
        except ValueError as error:
            raise InputError(f"{error}; name another file with --out") from error

    def played(
        self, agent: str, env_id: str, env_kwargs: Mapping[str, Any], instances: Iterable[Instance]
    ) -> dict[Instance, Episode]:
        """Return the episodes that the file held when it was opened, by instance.

        Args:
            agent: Who played and how, as it was written.
            env_id: As of `make_env`.
            env_kwargs: As of `make_env`.
            instances: What is looked for.
        """
        asked = {_text(agent, env_id, env_kwargs, one): one for one in instances}
        found = {asked[key]: episode for key, episode in self._known.items() if key in asked}
        self.others = len(self._known) - len(found)
        return found

    def write(self, agent: str, episode: Episode) -> None:
        """Append an episode, with who played it; nothing that was written before can be lost by it.

        Raises:
            OSError: It cannot be written.
        """
        episode.agent = agent
        write_episodes(self.path, [episode])


def collect_rest(
    agent: Agent, env_id: str, instances: Sequence[Instance], held: Mapping[Instance, Episode], **options: Any
) -> list[Episode]:
    """Play the instances of which no episode is held; return all episodes in the order of the instances.

    Args:
        agent: Who plays.
        env_id: As of `collect_episodes`.
        instances: What was asked for.
        held: The episodes that are there, by instance.
        **options: Further arguments of `collect_episodes`.
    """
    left = [instance for instance in instances if instance not in held]
    played = collect_episodes(agent, env_id, left, **options) if left else []
    both = {**held, **dict(zip(left, played, strict=True))}
    return [both[instance] for instance in instances]


def agent_text(identity: Mapping[str, Any]) -> str:
    """Return what tells an agent from others as the text that stands in episodes."""
    return json.dumps(json.loads(dumps(identity)), sort_keys=True)


def _key(episode: Episode) -> str:
    instance = Instance(split=episode.split, index=episode.index, seed=episode.seed)
    return _text(episode.agent, episode.env_id, episode.env_kwargs, instance)


def _text(agent: str, env_id: str, env_kwargs: Mapping[str, Any], instance: Instance) -> str:
    kwargs = json.loads(dumps(without_credentials(dict(env_kwargs))))
    return json.dumps([agent, env_id, kwargs, instance.split, instance.index, instance.seed], sort_keys=True)


def _cut_torn_line(path: Path) -> None:
    """Cut off what stands behind the last end of a line, unless it is a whole episode, whose line is then ended."""
    with path.open("r+b") as file:
        torn = b""
        for line in file:
            torn = b"" if line.endswith(b"\n") else line
        if not torn:
            return
        try:
            Episode.from_json(torn)
            file.write(b"\n")
        except ValueError:
            file.truncate(file.tell() - len(torn))
