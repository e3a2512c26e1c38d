"""Rewards: every part as the original computes it, and under the fixed rule every goal can be fulfilled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from turngym.webshop_server.catalogue import Catalogue, goals_of
from turngym.webshop_server.goals import Goal, SeededDraws, WantedOption
from turngym.webshop_server.goals.goal import goal_of
from turngym.webshop_server.product import Instruction, Product
from turngym.webshop_server.reward.nouns import words_as_nouns
from turngym.webshop_server.reward.reward import Reward, RewardError, reward_of


def parts_of(reward: Reward) -> dict[str, Any]:
    """Name the parts as the original does."""
    parts = {
        "r_type": reward.type_factor,
        "r_att": reward.attribute_share,
        "w_att": reward.attribute_weight,
        "query_match": reward.same_query,
        "category_match": reward.same_category,
        "title_score": reward.title_score,
        "r_price": reward.within_bound,
        "w_price": reward.price_weight,
    }
    if reward.option_share is not None:
        parts |= {"r_option": reward.option_share, "w_option": reward.option_weight}
    return parts


def test_equals_the_original_in_every_part(
    original_catalogue: Catalogue, recorded: Callable[[str], Any], recorded_goal: Callable[[dict[str, Any]], Goal]
) -> None:
    purchases = recorded("golden/rewards.jsonl")
    assert len(purchases) == 4444
    for purchase in purchases:
        product, goal = original_catalogue[purchase["purchased_asin"]], recorded_goal(purchase["goal"])
        nouns = {product.title: purchase["purchased_nouns"], goal.title: purchase["goal_nouns"]}

        def buy(product: Product = product, goal: Goal = goal, nouns: Any = nouns, purchase: Any = purchase) -> Reward:
            return reward_of(product, purchase["price"], purchase["options"], goal, nouns=nouns.__getitem__,
                             mode="faithful")  # fmt: skip

        if purchase["error"]:
            with pytest.raises(RewardError):
                buy()
        else:
            assert buy().total == purchase["reward"], purchase["id"]
            assert parts_of(buy()) == purchase["info"], purchase["id"]


SHIRT = Product(
    asin="SHIRT00001",
    title="Alder & Finch Linen Shirt for Men",
    description="Soft to the touch.",
    bullet_points=("Machine washable.", "Made of linen."),
    category="fashion",
    query="men's shirts",
    product_category="Clothing › Men › Shirts",
    prices=(25.0,),
    options={"color": ("light blue", "redwood", "red"), "fit": ("tank", "regular")},
    option_images={},
    image="",
    attributes=("long sleeve",),
    synthetic=None,
    human=(),
)


def goal(**changes: Any) -> Goal:
    fields: dict[str, Any] = {
        "asin": SHIRT.asin,
        "title": SHIRT.title,
        "category": SHIRT.category,
        "query": SHIRT.query,
        "product_category": SHIRT.product_category,
        "instruction": "a shirt",
        "attributes": ("long sleeve", "machine washable"),
        "options": (WantedOption("color", "redwood"),),
        "price_bound": 30.0,
    }
    return Goal(**(fields | changes))


def bought(goal: Goal, chosen: dict[str, str] | None = None, **settings: Any) -> Reward:
    return reward_of(SHIRT, 25.0, {"color": "redwood"} if chosen is None else chosen, goal, nouns=words_as_nouns,
                     **settings)  # fmt: skip


def test_all_that_was_wanted_is_success() -> None:
    assert bought(goal()) == Reward(
        total=1.0, type_factor=1.0, same_query=True, same_category=True, title_score=1.0, attribute_share=1.0,
        option_share=1.0, within_bound=True, attribute_weight=0.5, option_weight=0.25, price_weight=0.25,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "chosen", "total"),
    [
        ({"price_bound": 20.0}, {"color": "redwood"}, 3 / 4),
        ({"price_bound": 25.0}, {"color": "redwood"}, 1.0),
        ({}, {}, 3 / 4),
        ({}, {"color": "light blue"}, 3 / 4),
        ({}, {"fit": "redwood"}, 3 / 4),
        ({"attributes": ("tea tree", "long sleeve")}, {"color": "redwood"}, 3 / 4),
        ({"options": ()}, {}, 1.0),
        ({"options": (WantedOption(None, "redwood"),)}, {"fit": "redwood"}, 1.0),
        ({"query": "lamps", "product_category": "Home › Lamps", "title": "Alder Lamp Blue Tall"},
         {"color": "redwood"}, 1.0),
        ({"query": "lamps", "product_category": "Home › Lamps", "title": "Alder Lamp Glass Brass Tall Floor"},
         {"color": "redwood"}, 0.5),
        ({"title": "Brass Lamp"}, {"color": "redwood"}, 0.0),
        ({"title": "Alder a b c d e f g h i j k l"}, {"color": "redwood"}, 0.1),
    ],
)  # fmt: skip
def test_what_is_missing_costs_its_share(changes: dict[str, Any], chosen: dict[str, str], total: float) -> None:
    assert bought(goal(**changes), chosen).total == pytest.approx(total)


def test_the_original_looks_for_colors_on_one_side_and_ignores_names() -> None:
    assert bought(goal(), mode="faithful").option_share == 0.0
    assert bought(goal(), mode="fixed").option_share == 1.0
    misplaced = {"fit": "regular"}
    wanted = goal(options=(WantedOption("length", "regular"),))
    assert bought(wanted, misplaced, mode="faithful").option_share == 1.0
    assert bought(wanted, misplaced, mode="fixed").option_share == 0.0


def test_the_original_counts_repeated_nouns_of_the_goal() -> None:
    repeated = goal(title="Linen Shirt Linen Shirt")
    assert bought(repeated, mode="faithful").title_score == 0.5
    assert bought(repeated, mode="fixed").title_score == 1.0


@pytest.mark.parametrize("changes", [{"attributes": ()}, {"price_bound": 0.0}])
def test_refuses_goals_on_which_the_original_fails(changes: dict[str, Any]) -> None:
    with pytest.raises(RewardError, match="at least one attribute and a positive price bound"):
        bought(goal(**changes))


def test_refuses_other_modes() -> None:
    with pytest.raises(ValueError, match="fixed, faithful, got 'lenient'"):
        bought(goal(), mode="lenient")


def test_every_synthetic_goal_can_be_fulfilled_under_the_fixed_rule(original_catalogue: Catalogue) -> None:
    draws = SeededDraws()
    impossible = {"fixed": 0, "faithful": 0}
    goals = goals_of(original_catalogue, "synthetic", draws)
    for wanted in goals:
        product = original_catalogue[wanted.asin]
        chosen = {option.name: option.value for option in wanted.options if option.name}
        for mode in ("fixed", "faithful"):
            reward = reward_of(product, draws.price(product), chosen, wanted, nouns=words_as_nouns, mode=mode)
            impossible[mode] += reward.total < 1
    assert impossible["fixed"] == 0
    assert 0.05 < impossible["faithful"] / len(goals) < 0.1
    assert len(goals_of(original_catalogue, "human", draws)) == 13


ODD_VALUES = ("", "\u2605", "\u00e9", "-", "\u200b", "[", "\x00", "100% cotton", "redwood", "8' x 10'", "a | b")


@pytest.mark.parametrize("value", ODD_VALUES)
def test_every_value_of_an_option_can_be_what_is_wanted(value: str) -> None:
    product = replace(SHIRT, options={"color": (value, "plain"), "size": ("9",)}, attributes=(value or "soft",),
                      synthetic=Instruction("a shirt", (value or "soft",)))  # fmt: skip
    for number in range(2):
        wish = goal_of(product, "synthetic", number, SeededDraws())
        chosen = {wanted.name: wanted.value for wanted in wish.options if wanted.name and wanted.value}

        def earned(chosen: dict[str, str], wish: Goal = wish) -> float:
            return reward_of(product, 1.0, chosen, wish, nouns=words_as_nouns).total

        assert earned(chosen) == 1.0
        assert all(earned({name: chosen[name] for name in chosen if name != left_out}) < 1 for left_out in chosen)


def test_where_only_an_empty_value_is_wanted_there_is_nothing_to_choose() -> None:
    wish = goal(options=(WantedOption("color", ""),))
    assert bought(wish, {}).option_share is None and bought(wish, {}).total == 1.0
    assert bought(wish, {}, mode="faithful").option_share == 0.0, "as in the original"
