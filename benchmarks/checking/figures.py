"""Figure by figure: what is written in a table, and what comes out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from turngym.benchmarks.cells import SCRIPTED
from turngym.benchmarks.checking.measured import LIMIT, OPTIMUM, SUCCESS, AgentRow, Measured, Values
from turngym.benchmarks.checking.tables import MarkedTable, TableRow, plain

NEEDS_RUNS = "needs the runs"
OF_THE_MACHINE = "is of the machine"
UNKNOWN_COLUMN = "is no column that the command makes"
UNKNOWN_OPTIMUM = "is unknown"
SEVERAL_PLACES = "is of one of several environments, and the row does not say of which"

_NUMBER = re.compile(r"[+-]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)")
_WORDS = re.compile(r"[\[\](),;%± ]|at least|of|episodes")
"""What may stand beside the numbers of a figure."""
_SHORT = re.compile(r"^([+-]?)0\.")

Named = TypeVar("Named")


class State(Enum):
    """What became of a figure."""

    COMES_OUT = "comes out"
    DIFFERS = "differs"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one figure."""

    table: MarkedTable
    row: int
    """The row of the table, from 0 below the heads."""
    column: int
    part: int | None
    """Which of several figures in one cell, from 0; None where it is the whole cell."""
    name: str
    """What the row is called."""
    written: str
    """What stands in the page."""
    state: State
    came: str = ""
    """What comes out, written in the same way; empty where nothing does."""
    reason: str = ""
    """Why it was not checked, or why nothing comes out."""

    def __str__(self) -> str:
        """Say where the figure stands and what comes out."""
        place = f"{self.table.path}:{self.table.rows[self.row].line}: {self.name}, {self.table.heads[self.column]}"
        return f"{place}: {self.written} is written, {f'{self.came} comes out' if self.came else self.reason}"


def is_figure(text: str) -> bool:
    """Whether a cell holds numbers and little else."""
    return bool(_NUMBER.search(text)) and not _WORDS.sub("", _NUMBER.sub("", text)).strip()


def check_table(table: MarkedTable, measured: Measured, within: float = 0.0) -> Iterator[Verdict]:
    """Yield what became of every figure of a table.

    Where a row stands for environments its other cells are the success of agents, the optimum and the turn limit; where
    it stands for an agent they are its figures by the heads of the table that the command writes.

    Args:
        table: The table.
        measured: What its command has measured.
        within: How far a number may be off, beyond the rounding of its digits.
    """
    for number, row in enumerate(table.rows):
        for column in range(min(len(row.cells), len(table.heads))):
            if column in _names(table):
                continue
            for part, name, text in _figures(table, row, column):
                found = _look_up(table, row, column, name, measured)
                if isinstance(found, str):
                    state = State.NOT_CHECKED
                    came, reason = "", found
                elif found is None:
                    state, came, reason = State.DIFFERS, "", "and no such row comes out"
                else:
                    came, reason = written_like(text, *found), ""
                    state = State.COMES_OUT if _agrees(text, came, found, within) else State.DIFFERS
                yield Verdict(table=table, row=number, column=column, part=part, name=name, written=text, state=state,
                              came=came, reason=reason)  # fmt: skip


def corrected(text: str, verdicts: Sequence[Verdict]) -> str:
    """Return a page in which what comes out stands in the place of what does not.

    Args:
        text: The page.
        verdicts: Those of its tables.
    """
    lines = text.splitlines(keepends=True)
    for verdict in verdicts:
        if verdict.state is not State.DIFFERS or not verdict.came:
            continue
        line = verdict.table.rows[verdict.row].line - 1
        bars = [bar.start() for bar in re.finditer(r"(?<!\\)\|", lines[line])]
        start, end = bars[verdict.column] + 1, bars[verdict.column + 1]
        cell = lines[line][start:end]
        parts = [cell] if verdict.part is None else re.split(r"(, )", cell)
        place = 2 * (verdict.part or 0)
        parts[place] = parts[place].replace(verdict.written, verdict.came, 1)
        lines[line] = lines[line][:start] + "".join(parts) + lines[line][end:]
    return "".join(lines)


# What stands where ------------------------------------------------------------------------------------------------


def _names(table: MarkedTable) -> Mapping[int, str]:
    """Return the columns that name a row, the first and one of agents, and what each names."""
    if "agent" in table.heads[:2]:
        return {column: head for column, head in enumerate(table.heads[:2]) if head in ("agent", "environment")}
    return {0: "environment"}


def _figures(table: MarkedTable, row: TableRow, column: int) -> Iterator[tuple[int | None, str, str]]:
    """Yield the figures of a cell, with the name of their row: several where the row stands for several places."""
    name, text = plain(row.cells[0]), row.cells[column]
    names, texts = re.findall(r"`([^`]*)`", row.cells[0]), text.split(", ")
    if "agent" in _names(table).values():
        names = [", ".join(plain(row.cells[place]) for place in _names(table))]
    if len(names) > 1 and len(names) == len(texts) and all(map(is_figure, texts)):
        yield from zip(range(len(names)), names, texts, strict=True)
    elif is_figure(text):
        for one in names or [name]:  # a figure that all of them share
            yield None, one if names else name, text


def _look_up(
    table: MarkedTable, row: TableRow, column: int, name: str, measured: Measured
) -> tuple[Values, str] | str | None:
    """Return the numbers that come out for a cell, with the words beside them; why none do; None where none can."""
    head, names = table.heads[column], _names(table)
    if "agent" in names.values():
        by_kind = {kind: plain(row.cells[place]) for place, kind in names.items()}
        places = {one.place for one in measured.rows}
        if "environment" not in by_kind and len(places) > 1:
            return SEVERAL_PLACES
        if head == "seconds":
            return OF_THE_MACHINE
        return _of_agent(measured.rows, by_kind.get("environment"), by_kind["agent"], head)
    place = _place(name, [*measured.limits])
    if head == LIMIT and place:
        return (measured.limits[place],), ""
    if head == OPTIMUM and place:
        optimum = measured.optima[place]
        return UNKNOWN_OPTIMUM if optimum.known is None else (
            (optimum.known,), "" if optimum.rate is not None else "at least"
        )  # fmt: skip
    if place is None:
        return None
    return _of_agent(measured.rows, place, table.agents.get(head, head), SUCCESS, named=head in table.agents)


def _place(name: str, places: Sequence[str]) -> str | None:
    """Return which of some environments a name means, with or without its namespace; None where it means none."""
    return next((place for place in places if name in (place, place.partition("/")[2])), None)


def _of_agent(
    rows: Sequence[AgentRow], place: str | None, agent: str, head: str, *, named: bool = False
) -> tuple[Values, str] | str | None:
    """Return the numbers of an agent, by its name or by how that ends; its own arguments do not matter to a run's."""
    known = {row.place for row in rows}
    here = None if place is None else _place(place, [*known]) or place
    env_id = next((row.env_id for row in rows if row.place == here), None)
    fitting = [row for row in rows if row.agent == agent or (named and row.agent.endswith(f", {agent}"))]
    at = [row for row in fitting if here in (None, row.place)] or [row for row in fitting if row.env_id == env_id]
    if len({row.agent for row in at}) > 1:
        return f"could be of {' or '.join(sorted({row.agent for row in at}))}"
    if not at:
        gone = agent in SCRIPTED or any(row.agent == agent for row in rows)
        if gone:
            return None
        return NEEDS_RUNS if named or "," in agent or head != SUCCESS else UNKNOWN_COLUMN
    if head not in at[0].values:
        return UNKNOWN_COLUMN
    return at[0].values[head], ""


# Numbers ------------------------------------------------------------------------------------------------------------


def written_like(text: str, values: Values, words: str = "") -> str:
    """Return numbers as a text writes its own, with as many digits behind the point, and a 0 before it or none.

    Args:
        text: What is written now.
        values: The numbers; None is one that is not there.
        words: What is to be said beside them.
    """
    known = [value for value in values if value is not None]
    old = _NUMBER.findall(text)
    if len(old) != len(known):
        style = old[0] if old else "0.000"
        return " ".join([", ".join(_like(style, value) for value in known), words]).strip()
    new = iter(_like(number, value) for number, value in zip(old, known, strict=True))
    again = _NUMBER.sub(lambda _: next(new), text)
    if words and words not in again:
        return f"{again} {words}"
    return again if words else again.replace(" at least", "")


def _like(number: str, value: float) -> str:
    digits = len(number.partition(".")[2])
    text = f"{value:,.{digits}f}" if "," in number else f"{value:.{digits}f}"
    return _SHORT.sub(r"\1.", text) if number.lstrip("+-").startswith(".") else text


def _agrees(text: str, came: str, found: tuple[Values, str], within: float) -> bool:
    """Whether what is written is what comes out, or near enough."""
    if text == came:
        return True
    numbers = [float(number.replace(",", "")) for number in _NUMBER.findall(text)]
    values = [value for value in found[0] if value is not None]
    return (len(numbers) == len(values) and ("at least" in text) == ("at least" in came)
            and all(abs(one - other) <= within for one, other in zip(numbers, values, strict=True)))  # fmt: skip
