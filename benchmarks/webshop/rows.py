"""The rows of the table: the cells of one agent at one stand, together, with the intervals of their success."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from turngym.benchmarks.cells import ORACLE, SCRIPTED, CellResult, Row, by_row, common
from turngym.benchmarks.webshop.outcomes import PARTS, ShopOutcome
from turngym.benchmarks.webshop.protocols import ShopStand

READERS = tuple(name for name, (agent, _) in SCRIPTED.items() if agent == "shopper")
"""Those that read visible text alone."""


Result = CellResult[ShopStand, ShopOutcome]
"""A cell of the shop that was played."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopRow(Row):
    """One agent at one stand."""

    catalogue: str
    protocol: str
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


def rows_of(results: Iterable[Result]) -> list[ShopRow]:
    """Return the rows of cells in the order of these; cells of one stand and one name of an agent make one row."""
    return [row_of(group) for group in by_row(results)]


def row_of(group: Sequence[Result]) -> ShopRow:
    """Return the row of some cells of one agent."""
    played = [outcome for result in group for outcome in result.played]
    cell, base = group[0].cell, max(len(played), 1)
    strange = cell.stand.unseen_products(cell.split)
    unseen = [outcome for outcome in played if outcome.instance in strange]
    return ShopRow(
        **common(group), catalogue=cell.stand.catalogue.name, protocol=cell.stand.protocol.name,
        unseen=fmean(outcome.success for outcome in unseen) if unseen else None,
        unseen_goals=len({outcome.instance for outcome in unseen}),
        score=sum(outcome.score for outcome in played) / base, bought=sum(outcome.bought for outcome in played) / base,
        r_type=_mean(outcome.r_type for outcome in played), r_att=_mean(outcome.r_att for outcome in played),
        r_option=_mean(outcome.r_option for outcome in played), r_price=_mean(outcome.r_price for outcome in played),
    )  # fmt: skip


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def by_stand(rows: Sequence[ShopRow]) -> dict[tuple[str, str], list[ShopRow]]:
    """Return rows by catalogue and protocol."""
    stands: dict[tuple[str, str], list[ShopRow]] = {}
    for row in rows:
        stands.setdefault((row.catalogue, row.protocol), []).append(row)
    return stands


def ceilings(rows: Sequence[ShopRow]) -> dict[tuple[str, str], dict[str, ShopRow]]:
    """Return, by catalogue and protocol, what can be reached: by the oracle, and by the best script that reads.

    The oracle knows which product is wanted and searches for its hidden title. The script sees what all see.
    """
    found: dict[tuple[str, str], dict[str, ShopRow]] = {}
    for row in rows:
        own = found.setdefault((row.catalogue, row.protocol), {})
        if row.agent == ORACLE:
            own["oracle"] = row
        elif row.agent in READERS and ("reader" not in own or own["reader"].success < row.success):
            own["reader"] = row
    return found


def repeated(results: Iterable[Result]) -> list[str]:
    """Return a sentence for each stand at which a run was asked for more episodes than there are distinct goals."""
    cells = {result.cell.stand.title: result.cell for result in results}
    return [
        f"{title}: {cell.episodes} episodes a run of {count} distinct {cell.split} goals, so that goals were played "
        "again; intervals are over distinct goals."
        for title, cell in cells.items()
        if cell.episodes > (count := cell.stand.num_goals(cell.split))
    ]


COLUMNS = ("catalogue", "protocol", "agent", "runs", "success", "low", "high", "over_runs", "unseen", "unseen_goals",
           "score", "bought", *PARTS, "turns", "tokens", "invalid", "cut", "seconds", "errors", "instances",
           "episodes")  # fmt: skip
"""The names of the figures, in the order of files."""
