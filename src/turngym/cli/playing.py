"""Playing instances for a command: what a file holds already is not played, and what is played is kept in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from turngym._errors import FULL, InputError, WorkError
from turngym.agents.base import Agent, Instance
from turngym.agents.episode import Episode
from turngym.agents.episode_file import EpisodeFile, agent_text, collect_rest
from turngym.cli.agents import AgentOptions, NamedAgent
from turngym.cli.errors import UsageError
from turngym.cli.hosting import HostingOptions
from turngym.trainers.reporting.progress import Progress, SuccessSoFar


@dataclass(frozen=True, kw_only=True)
class PlayingOptions(AgentOptions, HostingOptions):
    """What all commands that play have in common."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is played, the same for all agents."""

    env_id: str
    env_kwargs: Mapping[str, Any]
    instances: Sequence[Instance]
    timeout: float
    """As of `step_timeout` of `collect_episodes`."""
    isolate: int
    """As of `collect_episodes`."""


def open_file(path: Path | None, *, resume: bool) -> EpisodeFile | None:
    """Return the file that episodes go to; None where none is named.

    Raises:
        UsageError: It exists and may not, or cannot be gone on with.
    """
    if path is None:
        if resume:
            raise UsageError("--resume goes on with a file: name it with --out")
        return None
    try:
        return EpisodeFile(path.absolute(), resume=resume)  # an environment may change the working directory
    except InputError as error:
        raise UsageError(str(error)) from error


def play_table(
    agent: Agent,
    table: Table,
    options: PlayingOptions,
    *,
    slots: int,
    progress: Progress,
    file: EpisodeFile | None = None,
    identity: Mapping[str, Any] | None = None,
) -> tuple[list[Episode], int]:
    """Play the instances that a file does not hold yet; return all episodes in the order of the instances.

    Args:
        agent: Who plays.
        table: What is played.
        options: How environments read replies.
        slots: Episodes played at once.
        progress: Told about every episode.
        file: Holds what was played, and gets what is played now.
        identity: What tells the agent from others, for the file.

    Returns:
        The episodes, and how many of them the file held.
    """
    text = agent_text({**(identity or {}), **({"lenient": True} if options.lenient else {})})
    held = file.played(text, table.env_id, table.env_kwargs, table.instances) if file else {}
    count = SuccessSoFar(progress)
    for episode in held.values():
        count(episode)

    def keep(episode: Episode) -> None:
        if file:
            _write(file, text, episode)
        count(episode)

    episodes = collect_rest(
        agent, table.env_id, table.instances, held, env_kwargs=table.env_kwargs, slots=slots, on_episode=keep,
        step_timeout=table.timeout, isolate=table.isolate, wrap=options.wrap,
    )  # fmt: skip
    return episodes, len(held)


@contextmanager
def told_what_is_kept(options: PlayingOptions, named: Sequence[NamedAgent], out: Path | None,
                      file: EpisodeFile | None, console: Console) -> Iterator[None]:  # fmt: skip
    """Finish the file after play, and say what was spent and what is kept where play stops before its end.

    Args:
        options: What is spent.
        named: Who plays.
        out: The file as the user named it; None for none.
        file: The same, open.
        console: Where to say it.

    Raises:
        UsageError: The file cannot be written, for another reason than a full disk.
    """
    try:
        yield
        if file is not None:
            _writing(file.path, file.finish)
    except (KeyboardInterrupt, WorkError, UsageError):
        if out is not None and file is not None and file.growing.exists():
            growing = out.with_name(file.growing.name)
            console.print(f"{growing} holds the episodes that were played. With --resume the same command goes on.",
                          soft_wrap=True)  # fmt: skip
        elif any(one.served for one in named):
            kept = "no game was over yet" if out else "name a file with --out to keep games"
            console.print(f"Nothing that was played is kept: {kept}.", soft_wrap=True)
        options.tell_spent(console)
        raise


def _write(file: EpisodeFile, agent: str, episode: Episode) -> None:
    """Append one episode, so that an interrupted rollout leaves what was played.

    Raises:
        UsageError: The file cannot be written, for another reason than a full disk.
    """
    _writing(file.growing, partial(file.write, agent, episode))


def _writing(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def held_note(name: str, held: int, count: int, path: Path | None) -> str:
    """Return what to say of episodes that a file held already; empty where it held none."""
    if not held:
        return ""
    return f"{name}: {held} of {count} episodes are from {path}, which held them; seconds are of the others."
