"""What the presets reach: the results of several runs, grouped by environment, as a Markdown table.

    python -m turngym.benchmarks.learning runs/* --out benchmarks/results/learning.md

Each run trained its own warm start from its own seed. A group shows the mean over its runs with the lowest and highest
run; below it every run stands with its own 95% Wilson interval over instances, and with the share of episodes that the
context ended and of replies that their limit ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from turngym.agents.evaluation import Score
from turngym.benchmarks.page import kept
from turngym.trainers.reporting.tables import cut_cell

AGENTS = ("random", "base_sampled", "base_greedy", "trained_sampled", "trained_greedy")
GROUP_HEAD = (
    "| environment | runs | turns | random | optimum | base, sampled | base, greedy | A*PO, sampled | A*PO, greedy "
    "| sampled, of the optimum | seconds |"
)
RUN_HEAD = (
    "| run | episodes | instances | base, sampled | base, greedy | A*PO, sampled | A*PO, greedy | A*PO, cut % "
    "| warm start, s | A*PO, s |"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One finished run."""

    name: str
    """The name of its folder."""
    env: str
    """The environment with its arguments, as a reader would write it."""
    scores: dict[str, Score]
    """Scores on the test split by agent."""
    optimum: float | None
    """Success of the best possible agent on the same instances."""
    seconds: dict[str, float]
    """Wall-clock time of each phase."""


def read_run(folder: Path) -> RunResult:
    """Read the result of a run folder.

    Raises:
        ValueError: The run is not complete.
    """
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
        scores = {agent: Score.from_dict(result[agent]) for agent in AGENTS}
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder} holds no complete run: {error}") from error
    return RunResult(
        name=folder.name, env=_describe(config["env"]), scores=scores, optimum=result["optimum"],
        seconds=result["seconds"],
    )  # fmt: skip


def _describe(env: dict[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in sorted(env.get("kwargs", {}).items()))
    name = str(env["id"]).removeprefix("turngym/")
    return f"{name} ({arguments})" if arguments else name


def group_row(env: str, runs: Sequence[RunResult]) -> str:
    """Return the table row of one environment: means over runs, with the lowest and the highest."""

    def spread(agent: str) -> str:
        rates = [run.scores[agent].rate for run in runs]
        return f"{fmean(rates):.3f} ({min(rates):.3f}-{max(rates):.3f})"

    optima = [run.optimum for run in runs if run.optimum is not None]
    optimum = fmean(optima) if len(optima) == len(runs) else None
    trained = fmean(run.scores["trained_sampled"].rate for run in runs)
    cells = [
        env,
        str(len(runs)),
        f"{fmean(run.scores['trained_sampled'].mean_turns for run in runs):.1f}",
        f"{fmean(run.scores['random'].rate for run in runs):.3f}",
        f"{optimum:.3f}" if optimum is not None else "unknown",
        *(spread(agent) for agent in AGENTS[1:]),
        f"{trained / optimum:.0%}" if optimum else "unknown",
        f"{fmean(sum(run.seconds.values()) for run in runs):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def run_row(run: RunResult) -> str:
    """Return the table row of one run, with intervals."""

    def interval(agent: str) -> str:
        score = run.scores[agent]
        return f"{score.rate:.3f} [{score.interval[0]:.3f}, {score.interval[1]:.3f}]"

    learning = run.seconds["values"] + run.seconds["learning"]
    trained = run.scores["trained_sampled"]
    instances = "?" if trained.instances is None else str(trained.instances)
    cells = [run.name, str(trained.episodes), instances, *(interval(agent) for agent in AGENTS[1:]), cut_cell(trained),
             f"{run.seconds['warm_start']:.0f}", f"{learning:.0f}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def report(runs: Sequence[RunResult]) -> str:
    """Return both tables as Markdown."""
    groups: dict[str, list[RunResult]] = defaultdict(list)
    for run in runs:
        groups[run.env].append(run)
    lines = [GROUP_HEAD, _rule(GROUP_HEAD)]
    lines += [group_row(env, members) for env, members in sorted(groups.items())]
    lines += ["", RUN_HEAD, _rule(RUN_HEAD)]
    lines += [run_row(run) for _, members in sorted(groups.items()) for run in members]
    return "\n".join(lines) + "\n"


def _rule(head: str) -> str:
    return "|" + "---|" * (head.count("|") - 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of the run folders given, and write them to a file if asked."""
    parser = argparse.ArgumentParser(prog="turngym.benchmarks.learning", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    options = parser.parse_args(arguments)
    try:
        text = report([read_run(folder) for folder in options.runs])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(text, end="")
    kept(text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
