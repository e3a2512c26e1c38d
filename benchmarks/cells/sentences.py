"""What is to be said of cells beside their table."""

from __future__ import annotations

from collections.abc import Sequence

from turngym.benchmarks.cells.cell import CellResult, OutcomeT, StandT


def sentences(results: Sequence[CellResult[StandT, OutcomeT]]) -> list[str]:
    """Return what is to be said of errors, of lenient readings, and of episodes from before a stop."""
    return [*error_notes(results), *lenient_notes(results), *held_notes(results)]


def error_notes(results: Sequence[CellResult[StandT, OutcomeT]]) -> list[str]:
    """Return a sentence for each cell with episodes that ended in an error."""
    notes = []
    for result in results:
        errors = [outcome.error for outcome in result.outcomes if outcome.error]
        if errors:
            notes.append(f"{_name(result)}: {len(errors)} of {len(result.outcomes)} episodes ended in an error, the "
                         f"first with {errors[0]}.")  # fmt: skip
    return notes


def lenient_notes(results: Sequence[CellResult[StandT, OutcomeT]]) -> list[str]:
    """Return a sentence for each cell in which only the lenient reading made replies usable."""
    notes = []
    for result in results:
        lenient, turns = (sum(getattr(outcome, name) for outcome in result.outcomes) for name in ("lenient", "turns"))
        if lenient:
            notes.append(f"{_name(result)}: only the lenient reading made {100 * lenient / turns:.1f}% of the replies "
                         "usable.")  # fmt: skip
    return notes


def held_notes(results: Sequence[CellResult[StandT, OutcomeT]]) -> list[str]:
    """Return a sentence for each cell of which a stop left episodes, whose time nobody has measured."""
    return [f"{_name(result)}: {result.held} of {len(result.outcomes)} episodes were played before a stop; seconds are "
            "of the others." for result in results if result.held]  # fmt: skip


def _name(result: CellResult[StandT, OutcomeT]) -> str:
    return f"{result.cell.stand.title}, {result.cell.player.name}"
