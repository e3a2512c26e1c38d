"""`turngym evaluate`: one agent beside the random floor and the optimum, on the same held-out instances."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rich import box
from rich.table import Table as RichTable
from tyro.conf import Positional, arg

from turngym.agents.base import Agent
from turngym.agents.episode import Episode
from turngym.agents.evaluation import (
    Score,
    error_note,
    instance_range,
    no_random_floor,
    optimal_rate,
    score_episodes,
)
from turngym.agents.samples import SampleScore, compare, sampled_instances, score_samples
from turngym.agents.scripted import RandomAgent
from turngym.cli.agents import NamedAgent, able_agents, find_agent
from turngym.cli.errors import UsageError
from turngym.cli.options import JsonObject, parse
from turngym.cli.playing import PlayingOptions, Table, held_note, open_file, play_table, told_what_is_kept
from turngym.cli.report import score_table
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.trainers.reporting.tables import table_notes

MAY_BE_ZERO = ("seed", "seeds", "first", "pause")
MOST = {"pause": 86_400, "episodes": 10_000_000, "samples": 1_000}
"""The largest amounts: a day, in seconds, what the memory of a machine holds, and what a table of k can show."""
SHOWN_K = 8
"""Up to so many samples every k has a row; beyond them only powers of two, and the last."""


@dataclass(frozen=True)
class EvaluateOptions(PlayingOptions):
    """Measure an agent on held-out instances, beside the random floor and the optimum."""

    agent: Annotated[Positional[str], arg(metavar="AGENT")]
    """A run or checkpoint folder, a model behind a server as openai:MODEL, or an agent: random, rule, shopper, oracle,
    demonstration, hostile or a registered one."""
    env: str = ""
    """The environment; a run knows its own."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of the environment, as a JSON object; a run knows its own."""
    agent_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of a scripted agent, as a JSON object, such as '{"looks": 3}' of the shopper."""
    against: str = ""
    """Another agent, which plays the same instances: the difference in success is told with its paired interval."""
    samples: int = 1
    """How often each instance is played; above 1, pass@k and the best return of k are told too."""
    out: Path | None = None
    """A file to keep the episodes in, but for those of the random agent, as of rollout; it must not exist, unless
    --resume is given."""
    resume: bool = False
    """Go on with the file: episodes that it holds of the same agent, game and seed are not played again."""
    episodes: int = 512
    """How many instances."""
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
    check_amounts(episodes=options.episodes, first=options.first, slots=options.slots, seed=options.seed,
                  samples=options.samples)  # fmt: skip
    options.check()
    file = open_file(options.out, resume=options.resume)
    named = find_agent(options.agent, options.env, options.agent_kwargs)
    options.check_use([options.agent, options.against])
    env_id, env_kwargs = named.env(options.env, options.env_kwargs)
    players = {named.name: named}
    if options.against:
        other = find_agent(options.against, env_id)
        other.env(env_id, env_kwargs)
        players[other.name if other.name != named.name else f"{other.name} (2)"] = other
    timeout, isolate = options.hosting(named.config.env if named.config else None)
    table = Table(env_id=env_id, env_kwargs=env_kwargs, timeout=timeout, isolate=isolate,
                  instances=sampled_instances(options.split, options.episodes, options.first, samples=options.samples,
                                              seed=options.seed))  # fmt: skip
    asked = min(options.slots, len(table.instances))
    agents = {name: one.make(options, one.slots(options, asked)) for name, one in players.items()}
    floor = {"random": RandomAgent()} if "random" in able_agents(env_id, env_kwargs) else {}
    console = make_console()
    episodes: dict[str, list[Episode]] = {}
    rows: dict[str, Score | float | None] = {}
    notes: list[str] = []
    with (
        told_what_is_kept(options, list(players.values()), options.out, file, console),
        TerminalProgress(console) as progress,
    ):
        for name, agent in {**floor, **agents}.items():
            player = players.get(name)
            progress.phase(name, len(table.instances))
            began = time.perf_counter()
            episodes[name], held = play_table(
                agent, table, options, slots=player.slots(options, asked) if player else asked, progress=progress,
                file=file if player else None, identity=player.identity(options) if player and file else None,
            )  # fmt: skip
            rows[name] = score_episodes(episodes[name], time.perf_counter() - began)
            notes += [error_note(name, episodes[name]), held_note(name, held, len(table.instances), options.out)]
    once = instance_range(options.split, options.episodes, options.first, seed=options.seed)
    optimum = optimal_rate(env_id, once, env_kwargs, step_timeout=timeout, isolate=isolate)
    rows["optimum"] = optimum.rate
    console.print(score_table(rows, f"{env_id}, {options.split} split{titles(options, players, agents)}"))
    if options.samples > 1:
        console.print(sample_table({name: score_samples(played, options.samples) for name, played in episodes.items()}))
    notes += [*comparison_notes(episodes, list(players)), optimum.note(), *table_notes(rows),
              "" if floor else no_random_floor(env_id)]  # fmt: skip
    for note in filter(None, notes):
        console.print(note, soft_wrap=True)
    options.tell_spent(console)
    return int(any(isinstance(row, Score) and row.errors for row in rows.values()))


def titles(options: EvaluateOptions, players: Mapping[str, NamedAgent], agents: Mapping[str, Agent]) -> str:
    """Return how the agents play, for the title of the table; with their names where there are two."""
    told = {name: words for name, one in players.items() if (words := one.describe(options, agents[name]))}
    return "".join(f", {words}" if len(players) == 1 else f"; {name}: {words}" for name, words in told.items())


def comparison_notes(episodes: Mapping[str, Sequence[Episode]], names: Sequence[str]) -> list[str]:
    """Return how far the first agent is ahead of the second on the same instances; nothing where there is none."""
    if len(names) < 2:
        return []
    first, second = names
    found = compare(episodes[first], episodes[second])
    if found is None:
        return [f"{first} and {second} have played no instance without an error that both have played."]
    low, high = found.interval
    over = f"{found.instances} instance{'' if found.instances == 1 else 's'}"
    bounds = f"95% interval [{low:+.3f}, {high:+.3f}]"
    return [f"{first} less {second}: success {found.difference:+.3f}, {bounds}, paired over {over}."]


def sample_table(scores: Mapping[str, SampleScore | None]) -> RichTable:
    """Return pass@k and the best return of k as a table, a column for each agent."""
    known = {name: score for name, score in scores.items() if score is not None}
    most = max((score.samples for score in known.values()), default=0)
    shown = RichTable(title="Several tries at each instance, with 95% intervals over instances", title_justify="left",
                      box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)  # fmt: skip
    for column in ("", *known):
        shown.add_column(column, justify="right" if column else "left")
    for k in range(1, most + 1):
        if most <= SHOWN_K or k == most or k & (k - 1) == 0:
            shown.add_row(f"pass@{k}", *(_with_interval(*score.pass_at[k]) for score in known.values()))
    shown.add_row(f"best return of {most}",
                  *(_with_interval(score.best_return, score.best_interval) for score in known.values()))  # fmt: skip
    return shown


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


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
