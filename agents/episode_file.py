"""A file of episodes that goes on after a stop: what was played by the same agent is not played again."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from turngym._durable import remove_unfinished
from turngym._errors import InputError
from turngym.agents.base import Agent, Instance
from turngym.agents.episode import Episode, read_episodes, write_episodes
from turngym.agents.parquet import LARGEST, SUFFIX, pyarrow, write_parquet
from turngym.agents.rollout import collect_episodes
from turngym.credentials import without_credentials
from turngym.strict_json import dumps


class EpisodeFile:
    """A file of episodes, each with who played it: JSON lines, or Parquet where its name ends in `.parquet`.

    A line that a stop has torn is cut off. Episodes of other agents, games or seeds may stand in the file and stay
    there. Episodes that ended in an error of the environment are played again, behind those.

    A Parquet file cannot be appended to. While it grows its episodes are JSON lines in a file beside it, with `.jsonl`
    behind its name, which `finish` puts into it. So a stop loses nothing there either.

    Args:
        path: The file.
        resume: Whether it may exist, and what it holds counts.

    Attributes:
        growing: The file of JSON lines that episodes are appended to; `path` itself unless that is Parquet.

    Raises:
        InputError: It exists and may not, or a line of it is no episode, or it is Parquet and pyarrow is not installed.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        self._parquet = path.suffix == SUFFIX
        self.growing = path.with_name(f"{path.name}.jsonl") if self._parquet else path
        self._known: dict[str, Episode] = {}
        self.others = 0
        """Lines that were of other agents, games or seeds when episodes were last looked for."""
        if self._parquet:
            pyarrow()
        there = [file for file in dict.fromkeys((self.path, self.growing)) if file.exists()]
        if there and not resume:
            raise InputError(f"{there[0]} exists already; name another file with --out, or go on with it by --resume")
        if self.growing.exists():
            _cut_torn_line(self.growing)
        try:
            for episode in chain.from_iterable(map(read_episodes, there)):
                if not episode.status.is_error():
                    self._known[_key(episode)] = episode
        except ValueError as error:
            raise InputError(f"{error}; name another file with --out") from error

    def played(
        self, agent: str, env_id: str, env_kwargs: Mapping[str, Any], instances: Collection[Instance]
    ) -> dict[Instance, Episode]:
        """Return the episodes that the file held when it was opened, by instance.

        Args:
            agent: Who played and how, as it was written.
            env_id: As of `make_env`.
            env_kwargs: As of `make_env`.
            instances: What is looked for.

        Raises:
            InputError: A seed is too large for the file.
        """
        if self._parquet and max((max(one.index, one.seed) for one in instances), default=0) > LARGEST:
            raise InputError(f"{self.path.name} holds seeds up to {LARGEST}: use a smaller one, or JSON lines")
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
        write_episodes(self.growing, [episode])

    def finish(self) -> None:
        """Say that nothing more is to come: a Parquet file gets what was played, in one step.

        Raises:
            OSError: It cannot be written; the episodes are in `growing` then.
        """
        if self._parquet and self.growing.exists():
            remove_unfinished(self.path.parent, f"{glob.escape(self.path.name)}.*")  # what a kill left
            write_parquet(self.path, _distinct(file for file in (self.path, self.growing) if file.exists()))
            self.growing.unlink()


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


def _distinct(files: Iterable[Path]) -> Iterator[Episode]:
    """Yield the episodes of files, those in several of them once: a stop may come before the last step of `finish`."""
    seen: set[bytes] = set()
    for episode in chain.from_iterable(map(read_episodes, files)):
        mark = hashlib.blake2b(episode.to_json().encode(), digest_size=16).digest()
        if mark not in seen:
            seen.add(mark)
            yield episode


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
