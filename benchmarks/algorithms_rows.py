"""The result files of the comparison of objectives, one line per run, and the statistics of their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

RESULTS = Path("benchmarks/results")
COMPARISON, TUNING = RESULTS / "algorithms.csv", RESULTS / "algorithms_tuning.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a result file: an agent measured on held-out instances."""

    task: str
    """Name in `TASKS`."""
    algorithm: str
    """Name in `COMPARED`, `ABLATIONS` or `SHAPED`, or "random", "base" or "optimum"."""
    seed: int
    """Of the base and the run."""
    learning_rate: float
    """At the peak; 0 for agents that did not learn."""
    episodes: int
    """Held-out instances, each played once, sampled at temperature 1."""
    success: float
    """Share of them that was solved."""
    tokens: int
    """Generated tokens, stage 1 included."""
    stage_one_tokens: int
    """Those of stage 1."""
    steps: int
    """Optimizer steps."""
    seconds: float
    """Processor seconds of both stages."""
    curve: str = ""
    """Success on training episodes over the budget of tokens, means of equal parts, separated by spaces."""

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What a run is known by."""
        return self.task, self.algorithm, self.seed, self.learning_rate


# Statistics --------------------------------------------------------------------------------------------------------


def by_seed(rows: Sequence[Row], task: str, algorithm: str) -> dict[int, Row]:
    """Return the runs of an algorithm on a task by seed."""
    return {row.seed: row for row in rows if (row.task, row.algorithm) == (task, algorithm)}


def paired(first: dict[int, Row], second: dict[int, Row]) -> list[float]:
    """Return how much more the first solved than the second, on every seed that both have."""
    return [first[seed].success - second[seed].success for seed in sorted(first.keys() & second.keys())]


def shown(mean: float, half: float, *, sign: bool = False) -> str:
    """Return a mean with the half width of its interval."""
    number = f"{mean:+.3f}" if sign else f"{mean:.3f}"
    return number if math.isnan(half) else f"{number} ± {half:.3f}"


def present(rows: Sequence[Row], task: str, names: Sequence[str]) -> list[str]:
    """Return which of some algorithms have runs on a task, best first."""
    means = {name: fmean(row.success for row in runs.values())
             for name in names if (runs := by_seed(rows, task, name))}  # fmt: skip
    return sorted(means, key=lambda name: -means[name])


def share_of_optimum(rows: Sequence[Row], task: str, name: str) -> list[float]:
    """Return, for every seed, how far an algorithm came from the base (0) to the optimum (1)."""
    runs, base, best = (by_seed(rows, task, agent) for agent in (name, "base", "optimum"))
    return [(runs[seed].success - base[seed].success) / (best[seed].success - base[seed].success)
            for seed in sorted(runs.keys() & base.keys() & best.keys())]  # fmt: skip
