"""The shop as a benchmark: who buys what was asked for, on which catalogue, by which protocol, and how sure that is."""

from turngym.benchmarks.webshop.outcomes import ShopOutcome
from turngym.benchmarks.webshop.protocols import PROTOCOLS, Catalogue, Protocol, ShopStand, stands
from turngym.benchmarks.webshop.report import HEADS, ceiling_note, row_cells, write_report
from turngym.benchmarks.webshop.rows import Result, ShopRow, by_stand, repeated, rows_of

__all__ = [
    "HEADS",
    "PROTOCOLS",
    "Catalogue",
    "Protocol",
    "Result",
    "ShopOutcome",
    "ShopRow",
    "ShopStand",
    "by_stand",
    "ceiling_note",
    "repeated",
    "row_cells",
    "rows_of",
    "stands",
    "write_report",
]
