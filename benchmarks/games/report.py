"""The table of environments and agents as Markdown, CSV and JSON, all of the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from turngym._version import __version__
from turngym.benchmarks.cells import ORACLE, SCRIPTED, count_text, over_text, sentences
from turngym.benchmarks.games.optima import Optimum
from turngym.benchmarks.games.rows import GameRow, Result, rows_of
from turngym.benchmarks.page import csv_text, mark, table, write_files
from turngym.strict_json import dumps

PAGE, FIGURES, RECORD = "games.md", "games.csv", "games.json"
HEADS = ("environment", "agent", "success", "95% over instances", "runs", "95% over runs", "of the optimum", "return",
         "turns", "tokens", "invalid", "cut", "seconds", "errors", "instances")  # fmt: skip
"""The columns of the table with all figures."""
COLUMNS = ("environment", "env_id", "turn_limit", "agent", "runs", "success", "low", "high", "over_runs", "floor",
           "optimum", "optimum_at_least", "share", "mean_return", "turns", "tokens", "invalid", "cut", "seconds",
           "errors", "instances", "episodes")  # fmt: skip
"""The names of the figures, in the order of files."""
READING = """Success is the share of the episodes that solve the task. Optimum: the mean probability that the best
agent solves the same instances, from the environment itself. Intervals are of 95%: over distinct instances, and where
there are several runs of an agent (training seeds, or seeds of its chance) also over these, by Student's t. Return,
turns and tokens are means over episodes; invalid: share of the turns that were unusable; cut: share of the episodes in
which a limit of tokens ended a reply or the whole. Seconds are of all episodes of a run. Episodes with an error of the
environment are counted and in nothing else.
"""


def write_report(folder: Path, results: Sequence[Result], optima: Mapping[str, Optimum], command: str) -> None:
    """Write the page and the figures.

    Args:
        folder: Where to.
        results: The cells.
        optima: The optimum of each stand, by its title.
        command: What was run.
    """
    rows = rows_of(results, optima)
    write_files(folder, {PAGE: page(results, optima, command),
                         FIGURES: csv_text(COLUMNS, (row.to_dict() for row in rows)),
                         RECORD: dumps(record(results, optima, command), indent=1) + "\n"})  # fmt: skip


def page(results: Sequence[Result], optima: Mapping[str, Optimum], command: str) -> str:
    """Return the whole page."""
    rows = rows_of(results, optima)
    notes = [*sentences(results), *optimum_notes(optima)]
    return "\n".join([
        "# Environments and agents\n", f"    {command}\n",
        f"turngym {__version__}, {results[0].cell.split if results else 'test'} instances.\n", READING,
        "## Success\n", mark(command), summary(rows, optima) + "\n", "## All figures\n", mark(command),
        table(HEADS, [row_cells(row) for row in rows]) + "\n", *(f"{note}\n" for note in notes),
    ])  # fmt: skip


def optimum_notes(optima: Mapping[str, Optimum]) -> list[str]:
    """Return a sentence for each stand of which the optimum is not known of all instances, since they failed."""
    return [f"{title}: {optimum.note}." for title, optimum in optima.items() if optimum.note]


def summary(rows: Sequence[GameRow], optima: Mapping[str, Optimum]) -> str:
    """Return success by environment and agent as a table in Markdown."""
    agents = sorted(dict.fromkeys(row.agent for row in rows), key=lambda name: (name not in SCRIPTED, name == ORACLE))
    lines = []
    for title, own in by_stand(rows).items():
        by_agent = {row.agent: f"{row.success:.3f}" for row in own}
        limit = own[0].turn_limit
        lines.append([f"`{title}`", "" if limit is None else str(limit), *(by_agent.get(name, "") for name in agents),
                      str(optima[title])])  # fmt: skip
    return table(["environment", "turns", *(escaped(name) for name in agents), "optimum"], lines)


def by_stand(rows: Sequence[GameRow]) -> dict[str, list[GameRow]]:
    """Return rows by environment."""
    stands: dict[str, list[GameRow]] = {}
    for row in rows:
        stands.setdefault(row.environment, []).append(row)
    return stands


def row_cells(row: GameRow) -> list[str]:
    """Return a row as text, in the order of `HEADS`."""
    return [
        f"`{row.environment}`", escaped(row.agent), f"{row.success:.3f}", f"[{row.low:.3f}, {row.high:.3f}]",
        str(row.runs), over_text(row), "" if row.share is None else f"{row.share:.3f}", f"{row.mean_return:.3f}",
        f"{row.turns:.1f}", f"{row.tokens:.1f}", f"{row.invalid:.3f}", f"{row.cut:.3f}", f"{row.seconds:.1f}",
        str(row.errors), count_text(row),
    ]  # fmt: skip


def escaped(name: str) -> str:
    """Return a name that cannot break a table."""
    return name.replace("|", "\\|")


def record(results: Sequence[Result], optima: Mapping[str, Optimum], command: str) -> dict[str, Any]:
    """Return the benchmark for JSON: the rows, and every cell with its key."""
    return {
        "command": command,
        "turngym": __version__,
        "rows": [row.to_dict() for row in rows_of(results, optima)],
        "cells": [{"environment": result.cell.stand.title, "agent": result.cell.player.name, "seed": result.cell.seed,
                   "digest": result.cell.digest, "key": result.cell.key,
                   "success": sum(outcome.success for outcome in result.outcomes)} for result in results],
    }  # fmt: skip
