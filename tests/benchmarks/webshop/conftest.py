"""Stands on a catalogue of a few products, and players without a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from turngym.agents.registry import make_agent
from turngym.benchmarks.cells import Cell, CellResult, Player
from turngym.benchmarks.webshop import PROTOCOLS, Catalogue, Result, ShopOutcome, ShopStand

SMALL = Catalogue.generated(60)


def stand(protocol: str = "fixed", catalogue: Catalogue = SMALL, **extra: Any) -> ShopStand:
    return ShopStand(catalogue=catalogue, protocol=PROTOCOLS[protocol], extra=extra)


def player(agent: str = "oracle", name: str = "", **arguments: Any) -> Player:
    return Player(name=name or agent, identity={"agent": agent, "arguments": arguments},
                  make=lambda _: make_agent(agent, **arguments), draws=agent == "random")  # fmt: skip


def cell(
    at: ShopStand | None = None, who: Player | None = None, *, seed: int = 0, episodes: int = 6
) -> Cell[ShopStand]:
    return Cell(stand=at or stand(), player=who or player(), seed=seed, split="test", episodes=episodes, slots=8)


def outcome(goal: int, score: float, **others: Any) -> ShopOutcome:
    parts = {"r_type": 1.0, "r_att": score, "r_option": None, "r_price": 1.0, "turns": 4} | others
    return ShopOutcome(instance=goal, success=score == 1.0, bought=True, score=score, **parts)


@pytest.fixture
def result() -> Callable[..., Result]:
    """Return a function that makes the result of a cell from the scores of its episodes."""

    def make(*scores: float, who: str = "oracle", seed: int = 0, protocol: str = "fixed") -> Result:
        outcomes = [outcome(goal, score) for goal, score in enumerate(scores)]
        at = cell(stand(protocol), player(who), seed=seed, episodes=len(scores))
        return CellResult(cell=at, outcomes=outcomes, seconds=2.0)

    return make
