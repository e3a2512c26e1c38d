"""Goals: what the original asks for, in its order, and draws that depend on nothing but a seed and the product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from turngym.webshop_server.catalogue import Catalogue, goals_of
from turngym.webshop_server.goals.goal import (
    NO_BOUND,
    Goal,
    RecordedDraws,
    SeededDraws,
    WantedOption,
    count_goals,
    goal_of,
)
from turngym.webshop_server.product import Instruction
from turngym.webshop_server.settings import GoalKind


@pytest.mark.parametrize("kind", ["synthetic", "human"])
def test_equal_those_of_the_original(
    original_catalogue: Catalogue,
    recorded: Callable[[str], Any],
    recorded_goal: Callable[[dict[str, Any]], Goal],
    kind: GoalKind,
) -> None:
    goals = list(map(recorded_goal, recorded(f"golden/goals_{kind}.json")))
    prices = recorded(f"golden/product_prices_{kind}_env.json")
    bounds = {goal.asin: goal.price_bound for goal in goals}
    assert list(goals_of(original_catalogue, kind, RecordedDraws(prices, bounds))) == goals
    assert len(goals) == {"synthetic": 6910, "human": 13}[kind]
    assert any(goal.price_bound == NO_BOUND for goal in goals) == (kind == "synthetic")


def test_one_for_every_choice_of_options(make_product: Callable[..., Any]) -> None:
    shirt = make_product(
        "SHIRT00001", "Shirt", options={"size": ("s", "m", "l"), "color": ("red", "blue")},
        synthetic=Instruction("find me a shirt", ("soft",)),
    )  # fmt: skip
    goals = [goal_of(shirt, "synthetic", number, SeededDraws()) for number in range(count_goals(shirt, "synthetic"))]
    choices = [[(option.name, option.value) for option in goal.options] for goal in goals]
    assert choices == [[("color", color), ("size", size)] for color in ("red", "blue") for size in ("s", "m", "l")]
    assert goals[4].instruction.startswith("find me a shirt with color: blue, and size: m, and price lower than ")


def test_one_for_every_wish_with_an_attribute(make_product: Callable[..., Any]) -> None:
    wishes = (Instruction("anything.", ()), Instruction("a soft one.", ("soft",), ("red",)))
    shirt = make_product("SHIRT00001", "Shirt", prices=(2000.0,), human=wishes)
    assert count_goals(shirt, "human") == 1
    goal = goal_of(shirt, "human", 0, SeededDraws())
    assert (goal.instruction, goal.options, goal.price_bound) == ("a soft one", (WantedOption(None, "red"),), NO_BOUND)


@pytest.mark.parametrize("changes", [
    {}, {"synthetic": Instruction("find me a shirt", ())},
    {"synthetic": Instruction("find me a shirt", ("soft",)), "options": {"size": ("s",), "color": ()}},
])  # fmt: skip
def test_none_where_nothing_is_asked_for(make_product: Callable[..., Any], changes: dict[str, Any]) -> None:
    shirt = make_product("SHIRT00001", "Shirt", **changes)
    assert count_goals(shirt, "synthetic") == count_goals(shirt, "human") == 0
