"""Environments and agents in one table: success beside the floor and the optimum of the same instances."""

from turngym.benchmarks.games.optima import Optimum, find_optima, optimum_digests
from turngym.benchmarks.games.report import HEADS, by_stand, optimum_notes, page, row_cells, write_report
from turngym.benchmarks.games.rows import FLOOR, GameRow, Result, rows_of
from turngym.benchmarks.games.stands import GameOutcome, GameStand, stand_name

__all__ = [
    "FLOOR",
    "HEADS",
    "GameOutcome",
    "GameRow",
    "GameStand",
    "Optimum",
    "Result",
    "by_stand",
    "find_optima",
    "optimum_digests",
    "optimum_notes",
    "page",
    "row_cells",
    "rows_of",
    "stand_name",
    "write_report",
]
