"""The table of a run's result: the scores of each agent, and the optimum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turngym._errors import InputError
from turngym.agents.evaluation import Score

COLUMNS = ("agent", "success", "95% interval", "return", "turns", "tokens", "cut %", "seconds", "n")
"""The columns; "cut %" has the episodes that the context ended, and the replies that their limit ended."""
ROWS = {
    "random": "random",
    "base_sampled": "base, sampled",
    "base_greedy": "base, greedy",
    "trained_sampled": "trained, sampled",
    "trained_greedy": "trained, greedy",
    "optimum": "optimum",
}
"""The rows of a result, in order, with their names."""

Rows = Mapping[str, Score | float | None]
"""Scores by the name of the agent; a bare rate, or None where it is unknown, for the optimum."""


def result_rows(result: Mapping[str, Any]) -> dict[str, Score | float | None]:
    """Return the rows of the table from a run's result.

    Raises:
        InputError: The result was not written by a run.
    """
    try:
        present = {key: name for key, name in ROWS.items() if key != "optimum" and result.get(key)}
        scores = {name: Score.from_dict(result[key]) for key, name in present.items()}
    except (ValueError, AttributeError) as error:
        raise InputError(f"this result cannot be shown: {error}") from error
    return {**scores, ROWS["optimum"]: result.get("optimum")}


def table_cells(rows: Rows) -> list[list[str]]:
    """Return the cells of every row as text: a score fills all columns, a bare rate only its own."""
    cells = []
    for name, row in rows.items():
        if isinstance(row, Score):
            low, high = row.interval
            count = f"{row.episodes}" + (f" (+{row.errors} errors)" if row.errors else "")
            cells.append([name, f"{row.rate:.3f}", f"[{low:.3f}, {high:.3f}]", f"{row.mean_return:.3f}",
                          f"{row.mean_turns:.1f}", f"{row.mean_tokens:.1f}", cut_cell(row), f"{row.seconds:.1f}",
                          count])  # fmt: skip
        else:
            cells.append([name, "unknown" if row is None else f"{row:.3f}", *[""] * (len(COLUMNS) - 2)])
    return cells


def cut_cell(score: Score) -> str:
    """Return the shares of episodes and of replies that were cut short, in percent: "0/12"."""
    shares = (score.cut_episodes, score.cut_replies)
    return "/".join("?" if share is None else "<1" if 0 < share < 0.01 else f"{100 * share:.0f}" for share in shares)


def table_notes(rows: Rows) -> list[str]:
    """Return sentences on what the numbers of a table do not say by themselves."""
    scores = [row for row in rows.values() if isinstance(row, Score)]
    repeated = {(score.episodes, score.instances) for score in scores if score.instances not in (None, score.episodes)}
    notes = [f"{episodes} episodes of 1 instance; of others the interval says nothing." if instances == 1 else
             f"{episodes} episodes of {instances} instances; the interval is over instances."
             for episodes, instances in sorted(repeated)]  # fmt: skip
    if any(score.cut_episodes for score in scores):
        notes.append("cut %, first number: the context ended these episodes, which then count as failures; raise "
                     "context_length.")  # fmt: skip
    if any(score.cut_replies for score in scores):
        notes.append("cut %, second number: these replies ended at the limit of tokens; raise max_reply_tokens.")
    if forced := [score.forced_replies for score in scores if score.forced_replies]:
        notes.append(f"Thoughts were ended at max_thought_tokens in up to {100 * max(forced):.0f}% of the replies.")
    for name, score in rows.items():
        if isinstance(score, Score) and score.lenient_replies:
            notes.append(f"{name}: only the lenient reading made {100 * score.lenient_replies:.1f}% of the replies "
                         "usable.")  # fmt: skip
    return notes


def text_table(rows: Rows) -> str:
    """Return the table as plain text, one line for each row, and what there is to say of it."""
    lines = [list(COLUMNS), *table_cells(rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    table = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]  # fmt: skip
    return "\n".join([*table, *table_notes(rows)])
