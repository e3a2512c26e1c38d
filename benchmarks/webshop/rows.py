"""The rows of the table: the cells of one agent at one stand, together, with the intervals of their success."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from turngym.agents.intervals import clustered_interval, student_interval
from turngym.benchmarks.webshop.cells import PARTS, CellResult, Outcome

ORACLE = "oracle"
SCRIPTED: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "rule": ("rule", {}),
    "shopper": ("shopper", {}),
    "shopper-details": ("shopper", {"details": True}),
    ORACLE: ("oracle", {}),
}
"""Scripted players by the name of their row: the agent and its arguments."""
READERS = tuple(name for name, (agent, _) in SCRIPTED.items() if agent == "shopper")
"""Those that read visible text alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One agent at one stand; means are over episodes without an error, of all its runs and seeds."""

    catalogue: str
    protocol: str
    agent: str
    runs: int
    """How many cells: trained runs, and seeds of chance."""
    success: float
    """Share of the episodes in which all of the wish was bought, a mean over the runs."""
    low: float
    """The lower end of its 95% interval over distinct goals, in which episodes of one goal count as they differ."""
    high: float
    """The upper end."""
    over_runs: float | None
    """Half the width of its 95% interval over the runs, by Student's t; None for a single one."""
    unseen: float | None
    """Success on goals for products that no goal of training wants; None where none was played."""
    unseen_goals: int
    """How many distinct goals that are."""
    score: float
    """Mean share of the wish that was bought, in [0, 1], 0 where nothing was."""
    bought: float
    """Share of the episodes that end with a purchase."""
    r_type: float | None
    """Mean factor of the kind of product, over purchases; None without any."""
    r_att: float | None
    """Mean share of the wanted attributes, over purchases."""
    r_option: float | None
    """Mean share of the wanted options, over purchases where some were wanted."""
    r_price: float | None
    """Share of the purchases whose price fits."""
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
    goals: int
    """How many distinct goals were played."""
    episodes: int
    """Episodes without error, in all runs."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


def rows_of(results: Iterable[CellResult]) -> list[Row]:
    """Return the rows of cells in the order of these; cells of one stand and one name of an agent make one row."""
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for result in results:
        stand = result.cell.stand
        groups.setdefault((stand.catalogue.name, stand.protocol.name, result.cell.player.name), []).append(result)
    return [row_of(group) for group in groups.values()]


def row_of(group: Sequence[CellResult]) -> Row:
    """Return the row of some cells of one agent."""
    runs = [[outcome for outcome in result.outcomes if not outcome.error] for result in group]
    played = [outcome for run in runs for outcome in run]
    rates = [sum(outcome.success for outcome in run) / max(len(run), 1) for run in runs]
    success, half = student_interval(rates)
    low, high = clustered_interval([outcome.success for outcome in played], [outcome.goal for outcome in played])
    cell, base, turns = group[0].cell, max(len(played), 1), max(sum(outcome.turns for outcome in played), 1)
    strange = cell.stand.unseen_products(cell.split)
    unseen = [outcome for outcome in played if outcome.goal in strange]
    return Row(
        catalogue=cell.stand.catalogue.name, protocol=cell.stand.protocol.name, agent=cell.player.name, runs=len(group),
        success=success, low=min(low, success), high=max(high, success), over_runs=None if math.isnan(half) else half,
        unseen=fmean(outcome.success for outcome in unseen) if unseen else None,
        unseen_goals=len({outcome.goal for outcome in unseen}),
        score=sum(outcome.score for outcome in played) / base, bought=sum(outcome.bought for outcome in played) / base,
        **parts(played), turns=sum(outcome.turns for outcome in played) / base,
        tokens=sum(outcome.tokens for outcome in played) / base,
        invalid=sum(outcome.invalid for outcome in played) / turns, cut=sum(outcome.cut for outcome in played) / base,
        seconds=fmean(result.seconds for result in group),
        errors=sum(bool(outcome.error) for result in group for outcome in result.outcomes),
        goals=len({outcome.goal for outcome in played}), episodes=len(played),
    )  # fmt: skip


def parts(played: Sequence[Outcome]) -> dict[str, float | None]:
    """Return the mean of each part of the reward, over the episodes that have it."""
    means: dict[str, float | None] = {}
    for name in PARTS:
        known = [value for outcome in played if (value := getattr(outcome, name)) is not None]
        means[name] = fmean(known) if known else None
    return means


def by_stand(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return rows by catalogue and protocol."""
    stands: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        stands.setdefault((row.catalogue, row.protocol), []).append(row)
    return stands


def ceilings(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Row]]:
    """Return, by catalogue and protocol, what can be reached: by the oracle, and by the best script that reads.

    The oracle knows which product is wanted and searches for its hidden title. The script sees what all see.
    """
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        own = found.setdefault((row.catalogue, row.protocol), {})
        if row.agent == ORACLE:
            own["oracle"] = row
        elif row.agent in READERS and ("reader" not in own or own["reader"].success < row.success):
            own["reader"] = row
    return found


def repeated(results: Iterable[CellResult]) -> list[str]:
    """Return a sentence for each stand at which a run was asked for more episodes than there are distinct goals."""
    cells = {result.cell.stand.title: result.cell for result in results}
    return [
        f"{title}: {cell.episodes} episodes a run of {count} distinct {cell.split} goals, so that goals were played "
        "again; intervals are over distinct goals."
        for title, cell in cells.items()
        if cell.episodes > (count := cell.stand.num_goals(cell.split))
    ]


COLUMNS = tuple(part.name for part in fields(Row))
"""The names of the figures, in the order of files."""
