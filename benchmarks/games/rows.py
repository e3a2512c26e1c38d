"""The rows of the table of environments and agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from turngym.benchmarks.cells import CellResult, Row, by_row, common
from turngym.benchmarks.games.optima import Optimum
from turngym.benchmarks.games.stands import GameOutcome, GameStand

FLOOR = "random"
"""The agent whose success is the floor."""
Result = CellResult[GameStand, GameOutcome]
"""A cell that was played."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameRow(Row):
    """One agent in one environment."""

    environment: str
    """Its id, and its arguments."""
    env_id: str
    """Its id alone."""
    turn_limit: int | None
    """Its turn limit; None without one."""
    mean_return: float
    """Mean undiscounted return, without shaping."""
    floor: float | None
    """Success of the random agent; None where it did not play."""
    optimum: float | None
    """Mean probability that the best agent solves the instances; None where it is unknown."""
    optimum_at_least: float | None
    """What it cannot be below; None where nothing is known."""
    share: float | None
    """Success by the optimum; None where that is unknown or 0."""


def rows_of(results: Iterable[Result], optima: Mapping[str, Optimum]) -> list[GameRow]:
    """Return the rows of cells in the order of these; cells of one stand and one name of an agent make one row.

    Args:
        results: The cells.
        optima: The optimum of each stand, by its title.
    """
    groups = [(group[0].cell.stand, common(group), group) for group in by_row(results)]
    floors = {stand.title: shared["success"] for stand, shared, _ in groups if shared["agent"] == FLOOR}
    rows = []
    for stand, shared, group in groups:
        optimum = optima[stand.title]
        returns = [outcome.task_return for result in group for outcome in result.played]
        rows.append(GameRow(
            **shared, environment=stand.title, env_id=stand.env_id, turn_limit=stand.turns,
            mean_return=fmean(returns) if returns else 0.0, floor=floors.get(stand.title), optimum=optimum.rate,
            optimum_at_least=optimum.at_least,
            share=shared["success"] / optimum.rate if optimum.rate else None,
        ))  # fmt: skip
    return rows
