"""The rows of a table: the cells of one agent at one stand, together, with the intervals of their success."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from turngym.agents.intervals import clustered_interval, student_interval
from turngym.benchmarks.cells.cell import CellResult, OutcomeT, StandT


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One agent at one stand; means are over episodes without an error, of all its runs and seeds."""

    agent: str
    runs: int
    """How many cells: trained runs, and seeds of chance."""
    success: float
    """Share of the episodes that solve the task, a mean over the runs."""
    low: float
    """The lower end of its 95% interval over distinct instances, in which episodes of one count as they differ."""
    high: float
    """The upper end."""
    over_runs: float | None
    """Half the width of its 95% interval over the runs, by Student's t; None for a single one."""
    turns: float
    """Mean number of turns."""
    tokens: float
    """Mean number of sampled tokens."""
    invalid: float
    """Share of the turns that were unusable."""
    cut: float
    """Share of the episodes in which a limit of tokens ended a reply or the whole."""
    seconds: float
    """Wall-clock time of a run's episodes, a mean over the runs."""
    errors: int
    """Episodes that ended in an error, in all runs."""
    instances: int
    """How many distinct instances were played."""
    episodes: int
    """Episodes without error, in all runs."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


Group = Sequence[CellResult[StandT, OutcomeT]]
"""The cells of a row."""


def by_row(results: Iterable[CellResult[StandT, OutcomeT]]) -> list[list[CellResult[StandT, OutcomeT]]]:
    """Return the cells of each row, in their order; those of one stand and one name of an agent make one row."""
    groups: dict[tuple[str, str], list[CellResult[StandT, OutcomeT]]] = {}
    for result in results:
        groups.setdefault((result.cell.stand.title, result.cell.player.name), []).append(result)
    return list(groups.values())


def common(group: Group[StandT, OutcomeT]) -> dict[str, Any]:
    """Return the fields of `Row` for the cells of a row."""
    runs = [result.played for result in group]
    played = [outcome for run in runs for outcome in run]
    success, half = student_interval([sum(outcome.success for outcome in run) / max(len(run), 1) for run in runs])
    low, high = clustered_interval([outcome.success for outcome in played], [outcome.instance for outcome in played])
    base, turns = max(len(played), 1), max(sum(outcome.turns for outcome in played), 1)
    return {
        "agent": group[0].cell.player.name, "runs": len(group), "success": success, "low": min(low, success),
        "high": max(high, success), "over_runs": None if math.isnan(half) else half,
        "turns": sum(outcome.turns for outcome in played) / base,
        "tokens": sum(outcome.tokens for outcome in played) / base,
        "invalid": sum(outcome.invalid for outcome in played) / turns,
        "cut": sum(outcome.cut for outcome in played) / base, "seconds": fmean(result.seconds for result in group),
        "errors": sum(len(result.outcomes) - len(result.played) for result in group),
        "instances": len({outcome.instance for outcome in played}), "episodes": len(played),
    }  # fmt: skip


def over_text(row: Row) -> str:
    """Return half the interval over runs as text; empty for a single run."""
    return "" if row.over_runs is None else f"± {row.over_runs:.3f}"


def count_text(row: Row) -> str:
    """Return how many distinct instances were played, and how many episodes where these are not as many."""
    return f"{row.instances}" if row.episodes == row.instances * row.runs else (
        f"{row.instances} ({row.episodes} episodes)"
    )  # fmt: skip
