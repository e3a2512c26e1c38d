"""Cells on lakes of four squares, and players without a model."""

from __future__ import annotations

from typing import Any

from turngym.agents.registry import make_agent
from turngym.benchmarks.cells import Cell, CellResult, Player
from turngym.benchmarks.games import GameOutcome, GameStand


def stand(env: str = "turngym/FrozenLake-v0", **kwargs: Any) -> GameStand:
    return GameStand(env=env, kwargs={"size": 2} | kwargs if "Lake" in env else kwargs)


def player(agent: str = "oracle", name: str = "", **arguments: Any) -> Player:
    return Player(name=name or agent, identity={"agent": agent, "arguments": arguments},
                  make=lambda _: make_agent(agent, **arguments), draws=agent == "random")  # fmt: skip


def cell(at: GameStand | None = None, who: Player | None = None, *, seed: int = 0, episodes: int = 6,
         **others: Any) -> Cell[GameStand]:  # fmt: skip
    return Cell(stand=at or stand(), player=who or player(), seed=seed, split="test", episodes=episodes, slots=2,
                **others)  # fmt: skip


def result(*successes: bool, at: Cell[GameStand] | None = None, held: int = 0) -> CellResult[GameStand, GameOutcome]:
    """Return the result of a cell whose episodes are of one instance each."""
    outcomes = [GameOutcome(instance=str(number), success=success, task_return=float(success), turns=4)
                for number, success in enumerate(successes)]  # fmt: skip
    return CellResult(cell=at or cell(episodes=len(successes)), outcomes=outcomes, seconds=2.0, held=held)
