"""Goals: what the original asks for, in its order, and draws that depend on nothing but a seed and the product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from turngym.webshop_server.catalogue import Catalogue
from turngym.webshop_server.goals import (
    NO_BOUND,
    Goal,
    RecordedDraws,
    human_goals,
    shuffled,
    synthetic_goals,
)


@pytest.mark.parametrize(("kind", "make"), [("synthetic", synthetic_goals), ("human", human_goals)])
def test_equal_those_of_the_original(
    original_catalogue: Catalogue,
    recorded: Callable[[str], Any],
    recorded_goal: Callable[[dict[str, Any]], Goal],
    kind: str,
    make: Callable[..., list[Goal]],
) -> None:
    goals = list(map(recorded_goal, recorded(f"golden/goals_{kind}.json")))
    prices = recorded(f"golden/product_prices_{kind}_env.json")
    bounds = {goal.asin: goal.price_bound for goal in goals}
    assert shuffled(make(original_catalogue.values(), RecordedDraws(prices, bounds))) == goals
    assert len(goals) == {"synthetic": 6910, "human": 13}[kind]
    assert any(goal.price_bound == NO_BOUND for goal in goals) == (kind == "synthetic")
