"""`turngym rollout`: episodes of any agent, as JSON lines that any fine-tuning tool can read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from turngym._errors import FULL
from turngym.agents.episode import Episode, write_episodes
from turngym.agents.evaluation import error_note, instance_range, score_episodes
from turngym.agents.rollout import collect_episodes
from turngym.cli.agents import DecodingOptions, find_agent
from turngym.cli.errors import UsageError
from turngym.cli.evaluate import check_amounts
from turngym.cli.hosting import HostingOptions
from turngym.cli.options import JsonObject, parse
from turngym.cli.report import score_table
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.trainers.reporting.progress import SuccessSoFar
from turngym.trainers.reporting.tables import table_notes


@dataclass(frozen=True)
class RolloutOptions(DecodingOptions, HostingOptions):
    """Write episodes of an agent to a JSONL file, one episode a line."""

    agent: Annotated[Positional[str], arg(metavar="AGENT")]
    """A run or checkpoint folder, or an agent: random, rule, shopper, oracle, demonstration, hostile or a registered
    one."""
    env: Annotated[Positional[str], arg(metavar="ENV")] = ""
    """The environment; a run knows its own."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of the environment, as a JSON object; a run knows its own."""
    agent_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of a scripted agent, as a JSON object, such as '{"looks": 3}' of the shopper."""
    out: Path = Path("episodes.jsonl")
    """The file to write; it must not exist."""
    episodes: int = 100
    """How many episodes."""
    split: Literal["train", "validation", "test"] = "train"
    """Which instances."""
    first: int = 0
    """The index of the first instance; the others follow it."""
    seed: int = 0
    """Chance of environment and sampling."""
    slots: int = 128
    """Episodes played at once."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = parse(RolloutOptions, words, command="rollout")
    check_amounts(episodes=options.episodes, slots=options.slots, seed=options.seed, first=options.first)
    options.check()
    if options.out.exists():
        raise UsageError(f"{options.out} exists already; name another file with --out")
    out = options.out.absolute()  # an environment may change the working directory
    named = find_agent(options.agent, options.env, options.agent_kwargs)
    env_id, env_kwargs = named.env(options.env, options.env_kwargs)
    agent = named.make(options, min(options.slots, options.episodes))
    instances = instance_range(options.split, options.episodes, options.first, seed=options.seed)
    timeout, isolate = options.hosting(named.config.env if named.config else None)
    console = make_console()
    began = time.perf_counter()
    with TerminalProgress(console) as progress:
        progress.phase(named.name, options.episodes)
        count = SuccessSoFar(progress)

        def keep(episode: Episode) -> None:
            write(out, episode)
            count(episode)

        try:
            episodes = collect_episodes(
                agent, env_id, instances, env_kwargs=env_kwargs, slots=options.slots, on_episode=keep,
                step_timeout=timeout, isolate=isolate,
            )  # fmt: skip
        except KeyboardInterrupt:
            if out.exists():
                console.print(f"{options.out} holds the episodes that were played.", soft_wrap=True)
            raise
    score = score_episodes(episodes, time.perf_counter() - began)
    decoding = f", {options.describe(named.decoding, agent)}" if named.decoding else ""
    rows = {named.name: score}
    console.print(score_table(rows, f"{env_id}, {options.split} split{decoding}: {options.out}"))
    for note in filter(None, [error_note(named.name, episodes), *table_notes(rows)]):
        console.print(note, soft_wrap=True)
    return int(score.errors > 0)


def write(path: Path, episode: Episode) -> None:
    """Append one episode, so that an interrupted rollout leaves what was played.

    Raises:
        UsageError: The file cannot be written, for another reason than a full disk.
    """
    try:
        write_episodes(path, [episode])
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
