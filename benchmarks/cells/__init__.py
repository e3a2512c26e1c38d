"""Tables of agents, cell by cell: who played where with which seed, kept in files, played on after a stop, and told."""

from turngym.benchmarks.cells.cell import (
    FOLDER,
    Cell,
    CellResult,
    Outcome,
    Player,
    Stand,
    left_over,
    presentation,
    presentation_arguments,
)
from turngym.benchmarks.cells.playing import plan, play_cells
from turngym.benchmarks.cells.rows import Row, by_row, common, count_text, over_text
from turngym.benchmarks.cells.scripted import ORACLE, SCRIPTED
from turngym.benchmarks.cells.sentences import sentences

__all__ = [
    "FOLDER",
    "ORACLE",
    "SCRIPTED",
    "Cell",
    "CellResult",
    "Outcome",
    "Player",
    "Row",
    "Stand",
    "by_row",
    "common",
    "count_text",
    "left_over",
    "over_text",
    "plan",
    "play_cells",
    "presentation",
    "presentation_arguments",
    "sentences",
]
