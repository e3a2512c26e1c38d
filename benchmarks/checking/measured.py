"""What was measured, by the names under which it stands in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turngym.benchmarks.cells import Row
from turngym.benchmarks.games import GameRow, GameStand, Optimum
from turngym.benchmarks.webshop import ShopRow

Values = tuple[float | None, ...]
"""The numbers of a cell, in order."""
SUCCESS, OPTIMUM, LIMIT = "success", "optimum", "turns"
"""Heads of columns in which no agent stands by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """The figures of one agent in one place."""

    place: str
    """The title of an environment with its arguments, or of a catalogue with its protocol."""
    env_id: str
    """The environment alone."""
    agent: str
    values: Mapping[str, Values]
    """By the heads of the table that the command writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the command of a table has measured."""

    rows: Sequence[AgentRow]
    limits: Mapping[str, int | None]
    """The turn limit of each place."""
    optima: Mapping[str, Optimum]
    """The optimum of each place, where it was asked for."""


def of_games(rows: Sequence[GameRow], optima: Mapping[str, Optimum], stands: Sequence[GameStand]) -> Measured:
    """Return what `turngym bench games` has measured."""
    found = [AgentRow(place=row.environment, env_id=row.env_id, agent=row.agent,
                      values={**_common(row), "95% over instances": (row.low, row.high), "return": (row.mean_return,),
                              "of the optimum": (row.share,), "instances": _counted(row)})
             for row in rows]  # fmt: skip
    return Measured(rows=found, limits={stand.title: stand.turns for stand in stands}, optima=optima)


def of_webshop(rows: Sequence[ShopRow]) -> Measured:
    """Return what `turngym bench webshop` has measured."""
    found = [
        AgentRow(place=f"{row.catalogue}, {row.protocol}", env_id=row.protocol, agent=row.agent, values={
            **_common(row), "95% over goals": (row.low, row.high), "score": (row.score,), "bought": (row.bought,),
            "type": (row.r_type,), "attributes": (row.r_att,), "options": (row.r_option,), "price": (row.r_price,),
            "unseen products": (row.unseen, row.unseen_goals), "goals": _counted(row),
        })
        for row in rows
    ]  # fmt: skip
    return Measured(rows=found, limits={}, optima={})


def _common(row: Row) -> dict[str, Values]:
    return {SUCCESS: (row.success,), "runs": (row.runs,), "95% over runs": (row.over_runs,), "turns": (row.turns,),
            "tokens": (row.tokens,), "invalid": (row.invalid,), "cut": (row.cut,), "errors": (row.errors,)}  # fmt: skip


def _counted(row: Row) -> Values:
    return (row.instances,) if row.episodes == row.instances * row.runs else (row.instances, row.episodes)
