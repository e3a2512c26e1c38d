"""The shop as a benchmark: who buys what was asked for, on which catalogue, by which protocol, and how sure that is."""

from turngym.benchmarks.webshop.cells import FOLDER, Cell, CellResult, Outcome, Player, left_over
from turngym.benchmarks.webshop.playing import plan, play_cells
from turngym.benchmarks.webshop.protocols import PROTOCOLS, Catalogue, Protocol, Stand, stands
from turngym.benchmarks.webshop.report import ceiling_note, error_notes, lenient_notes, write_report
from turngym.benchmarks.webshop.rows import Row, by_stand, repeated, rows_of

__all__ = [
    "FOLDER",
    "PROTOCOLS",
    "Catalogue",
    "Cell",
    "CellResult",
    "Outcome",
    "Player",
    "Protocol",
    "Row",
    "Stand",
    "by_stand",
    "ceiling_note",
    "error_notes",
    "left_over",
    "lenient_notes",
    "plan",
    "play_cells",
    "repeated",
    "rows_of",
    "stands",
    "write_report",
]
