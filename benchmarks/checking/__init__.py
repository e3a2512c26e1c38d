"""Whether the figures of pages still come out: tables under a mark are read, and compared with what was measured."""

from turngym.benchmarks.checking.figures import State, Verdict, check_table, corrected
from turngym.benchmarks.checking.measured import Measured, of_games, of_webshop
from turngym.benchmarks.checking.tables import MarkedTable, marked_tables

__all__ = [
    "MarkedTable",
    "Measured",
    "State",
    "Verdict",
    "check_table",
    "corrected",
    "marked_tables",
    "of_games",
    "of_webshop",
]
