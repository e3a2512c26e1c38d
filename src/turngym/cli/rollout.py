"""`turngym rollout`: episodes of any agent, as JSON lines or Parquet, which any fine-tuning tool can read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from turngym.agents.evaluation import error_note, instance_range, score_episodes
from turngym.cli.agents import find_agent
from turngym.cli.evaluate import check_amounts
from turngym.cli.options import JsonObject, parse
from turngym.cli.playing import PlayingOptions, Table, held_note, open_file, play_table, told_what_is_kept
from turngym.cli.report import score_table
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.trainers.reporting.tables import table_notes


@dataclass(frozen=True)
class RolloutOptions(PlayingOptions):
    """Write episodes of an agent to a file, one episode a line of JSON, or a row of Parquet."""

    agent: Annotated[Positional[str], arg(metavar="AGENT")]
    """A run or checkpoint folder, a model behind a server as openai:MODEL, or an agent: random, rule, shopper, oracle,
    demonstration, hostile or a registered one."""
    env: Annotated[Positional[str], arg(metavar="ENV")] = ""
    """The environment; a run knows its own."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of the environment, as a JSON object; a run knows its own."""
    agent_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of a scripted agent, as a JSON object, such as '{"looks": 3}' of the shopper."""
    out: Path = Path("episodes.jsonl")
    """The file to write: JSON lines, or Parquet (extra parquet) where its name ends in .parquet. It must not exist,
    unless --resume is given."""
    resume: bool = False
    """Go on with the file: episodes that it holds of the same agent, game and seed are not played again."""
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
    file = open_file(options.out, resume=options.resume)
    named = find_agent(options.agent, options.env, options.agent_kwargs)
    options.check_use([options.agent])
    env_id, env_kwargs = named.env(options.env, options.env_kwargs)
    slots = named.slots(options, min(options.slots, options.episodes))
    agent = named.make(options, slots)
    timeout, isolate = options.hosting(named.config.env if named.config else None)
    table = Table(env_id=env_id, env_kwargs=env_kwargs, timeout=timeout, isolate=isolate,
                  instances=instance_range(options.split, options.episodes, options.first,
                                           seed=options.seed))  # fmt: skip
    console = make_console()
    began = time.perf_counter()
    with told_what_is_kept(options, [named], options.out, file, console), TerminalProgress(console) as progress:
        progress.phase(named.name, options.episodes)
        episodes, held = play_table(agent, table, options, slots=slots, progress=progress, file=file,
                                    identity=named.identity(options))  # fmt: skip
    score = score_episodes(episodes, time.perf_counter() - began)
    decoding = f", {told}" if (told := named.describe(options, agent)) else ""
    rows = {named.name: score}
    console.print(score_table(rows, f"{env_id}, {options.split} split{decoding}: {options.out}"))
    notes = [error_note(named.name, episodes), *table_notes(rows),
             held_note(named.name, held, len(episodes), options.out)]  # fmt: skip
    for note in filter(None, notes):
        console.print(note, soft_wrap=True)
    options.tell_spent(console)
    return int(score.errors > 0)
