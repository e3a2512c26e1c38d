"""`turngym evaluate`: one agent beside the random floor and the optimum, on the same held-out instances."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from turngym.agents.evaluation import (
    Score,
    error_note,
    instance_range,
    no_random_floor,
    optimal_rate,
    score_episodes,
)
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import RandomAgent
from turngym.cli.agents import DecodingOptions, able_agents, find_agent
from turngym.cli.errors import UsageError
from turngym.cli.hosting import HostingOptions
from turngym.cli.options import JsonObject, parse
from turngym.cli.report import score_table
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.trainers.reporting.progress import SuccessSoFar
from turngym.trainers.reporting.tables import table_notes

MAY_BE_ZERO = ("seed", "seeds", "first", "pause")
MOST = {"pause": 86_400, "episodes": 10_000_000}
"""The largest amounts: a day, in seconds, and what the memory of a machine holds."""


@dataclass(frozen=True)
class EvaluateOptions(DecodingOptions, HostingOptions):
    """Measure an agent on held-out instances, beside the random floor and the optimum."""

    agent: Annotated[Positional[str], arg(metavar="AGENT")]
    """A run or checkpoint folder, or an agent: random, rule, shopper, oracle, demonstration, hostile or a registered
    one."""
    env: str = ""
    """The environment; a run knows its own."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of the environment, as a JSON object; a run knows its own."""
    agent_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of a scripted agent, as a JSON object, such as '{"looks": 3}' of the shopper."""
    episodes: int = 512
    """How many instances, each played once."""
    first: int = 0
    """The index of the first instance; the others follow it."""
    split: Literal["train", "validation", "test"] = "test"
    """Which instances."""
    seed: int = 0
    """Chance of environment and sampling; the instances are the same for every seed."""
    slots: int = 128
    """Episodes played at once."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = parse(EvaluateOptions, words, command="evaluate")
    check_amounts(episodes=options.episodes, first=options.first, slots=options.slots, seed=options.seed)
    options.check()
    named = find_agent(options.agent, options.env, options.agent_kwargs)
    env_id, env_kwargs = named.env(options.env, options.env_kwargs)
    agent = named.make(options, min(options.slots, options.episodes))
    console = make_console()
    instances = instance_range(options.split, options.episodes, options.first, seed=options.seed)
    timeout, isolate = options.hosting(named.config.env if named.config else None)
    play = partial(collect_episodes, env_id=env_id, instances=instances, env_kwargs=env_kwargs, slots=options.slots,
                   step_timeout=timeout, isolate=isolate)  # fmt: skip
    rows: dict[str, Score | float | None] = {}
    notes: list[str] = []
    floor = {"random": RandomAgent()} if "random" in able_agents(env_id, env_kwargs) else {}
    with TerminalProgress(console) as progress:
        for name, who in {**floor, named.name: agent}.items():
            progress.phase(name, len(instances))
            began = time.perf_counter()
            episodes = play(who, on_episode=SuccessSoFar(progress))
            rows[name] = score_episodes(episodes, time.perf_counter() - began)
            notes.append(error_note(name, episodes))
    optimum = optimal_rate(env_id, instances, env_kwargs, step_timeout=timeout, isolate=isolate)
    rows["optimum"] = optimum.rate
    decoding = f", {options.describe(named.decoding, agent)}" if named.decoding else ""
    console.print(score_table(rows, f"{env_id}, {options.split} split{decoding}"))
    notes += [optimum.note(), *table_notes(rows), "" if floor else no_random_floor(env_id)]
    for note in filter(None, notes):
        console.print(note, soft_wrap=True)
    return int(any(isinstance(row, Score) and row.errors for row in rows.values()))


def check_amounts(**amounts: float) -> None:
    """Refuse amounts that nothing can be done with; some may be 0, everything else must be above.

    Raises:
        UsageError: An amount is too small or too large.
    """
    for name, amount in amounts.items():
        if not amount >= 0 or (amount == 0 and name not in MAY_BE_ZERO):
            raise UsageError(f"--{name} must be {'at least' if name in MAY_BE_ZERO else 'above'} 0, got {amount}")
        if amount > MOST.get(name, amount):
            raise UsageError(f"--{name} must be at most {MOST[name]}, got {amount}")
