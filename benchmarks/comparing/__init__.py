"""Runs compared: means over seeds, differences that are paired where bases are shared, aggregates, curves."""

from turngym.benchmarks.comparing.comparison import Comparison, Metric, compare
from turngym.benchmarks.comparing.picture import Axis
from turngym.benchmarks.comparing.report import HOW, IQM, Section, sections, sentences, write_files

__all__ = ["HOW", "IQM", "Axis", "Comparison", "Metric", "Section", "compare", "sections", "sentences", "write_files"]
