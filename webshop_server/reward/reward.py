"""The reward of a purchase: how much of the goal it fulfills. Yao et al., arXiv 2207.01206, section 3 and appendix A.

Two rules are at hand. The faithful one is the original's, defects included: under it many synthetic goals cannot be
fulfilled at all, since a color is looked for in what was chosen but not in what was wanted. The fixed one treats both
sides alike and compares an option with the option of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from turngym.webshop_server.goals import Goal, WantedOption
from turngym.webshop_server.product import Product
from turngym.webshop_server.reward.matching import COLORS, color_within, color_word, matches
from turngym.webshop_server.settings import Mode

NounExtractor = Callable[[str], Sequence[str]]
"""Gives the nouns of a title in lower case, in their order, with repetitions."""


class RewardError(ValueError):
    """The goal is malformed: it has no attributes, or no positive price bound. No catalogue gives such goals."""


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward of a purchase and what it consists of; the names in parentheses are the original's."""

    total: float
    """In [0, 1]; 1 is success."""
    type_factor: float
    """Whether it is the right kind of product at all: 1, 0.5, 0.1 or 0 (`r_type`)."""
    same_query: bool
    """Whether the shop knows both as the same kind (`query_match`)."""
    same_category: bool
    """Whether two levels of their categories agree (`category_match`)."""
    title_score: float
    """Share of the nouns of the goal's title that the title of the purchase has."""
    attribute_share: float
    """Share of the wanted attributes that it has (`r_att`)."""
    option_share: float | None
    """Share of the wanted options that were chosen; None if none are wanted (`r_option`)."""
    within_bound: bool
    """Whether its price respects the bound (`r_price`)."""
    attribute_weight: float
    """Weight of the attributes in the total (`w_att`)."""
    option_weight: float
    """Weight of the options in the total (`w_option`)."""
    price_weight: float
    """Weight of the price in the total (`w_price`)."""


def reward_of(
    product: Product,
    price: float,
    chosen: Mapping[str, str],
    goal: Goal,
    *,
    nouns: NounExtractor,
    mode: Mode = "fixed",
) -> Reward:
    """Return the reward of buying a product.

    Args:
        product: What was bought.
        price: What it cost, in dollars.
        chosen: The chosen values by option.
        goal: What was wanted.
        nouns: Finds the nouns of titles.
        mode: `faithful` to the original, or `fixed`.

    Raises:
        ValueError: There is no such mode.
        RewardError: The goal has no attributes or no positive price bound.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    if not goal.attributes or goal.price_bound <= 0:
        raise RewardError("a goal needs at least one attribute and a positive price bound")
    faithful = mode == "faithful"
    same_query = product.query == goal.query
    same_category = len(_levels(product.product_category) & _levels(goal.product_category)) >= 2
    title_score = _title_score(nouns(product.title), nouns(goal.title), repeated=faithful)
    type_factor = _type_factor(same_query or same_category, title_score)
    same, fulfills = (matches, _fulfills_faithfully) if faithful else (_same, _fulfills)
    attributes_met = sum(_has(product, attribute, same) for attribute in goal.attributes)
    options = [wanted for wanted in goal.options if faithful or wanted.value]  # no value can be chosen where none is
    options_met = sum(fulfills(chosen, wanted) for wanted in options)
    within_bound = price <= goal.price_bound
    parts = len(goal.attributes) + len(options) + 1
    return Reward(
        total=(attributes_met + options_met + within_bound) / parts * type_factor,
        type_factor=type_factor,
        same_query=same_query,
        same_category=same_category,
        title_score=title_score,
        attribute_share=attributes_met / len(goal.attributes),
        option_share=options_met / len(options) if options else None,
        within_bound=within_bound,
        attribute_weight=len(goal.attributes) / parts,
        option_weight=len(options) / parts,
        price_weight=1 / parts,
    )


def _levels(product_category: str) -> set[str]:
    return {level.strip() for level in product_category.split("›")}


def _title_score(bought: Sequence[str], wanted: Sequence[str], *, repeated: bool) -> float:
    """Return the share of wanted nouns in the title; the original counts repetitions in the denominator alone."""
    if not wanted:
        return 0.2
    return len(set(bought) & set(wanted)) / (len(wanted) if repeated else len(set(wanted)))


def _type_factor(same_kind: bool, title_score: float) -> float:
    """Return the factor of the kind; where titles share no noun, an equal query or category does not help."""
    if title_score < 0.1:
        return 0.0 if title_score == 0 else 0.1
    return 1.0 if same_kind or title_score > 0.2 else 0.5


def _same(left: str, right: str) -> bool:
    """Return whether two texts are one, or match; texts without letters and digits match none."""
    return left == right or matches(left, right)


def _has(product: Product, attribute: str, same: Callable[[str, str], bool]) -> bool:
    """Return whether a product has an attribute, or any of its texts says so."""
    return any(same(own, attribute) for own in product.attributes) or any(
        attribute in text.lower() for text in (product.title, " ".join(product.bullet_points), product.description)
    )


def _fulfills(chosen: Mapping[str, str], wanted: WantedOption) -> bool:
    """Compare what is wanted with the value chosen for that option, or with every value where a person named none."""
    values = chosen.values() if wanted.name is None else filter(None, [chosen.get(wanted.name)])
    return any(_same(color_word(value), color_word(wanted.value)) for value in values)


def _fulfills_faithfully(chosen: Mapping[str, str], wanted: WantedOption) -> bool:
    """Compare what is wanted with every chosen value, whatever its option.

    The original looks for a color in every text, but a wanted option that has a name is a pair to it: that becomes a
    color only if its name or value is nothing else, and is otherwise compared as it would be printed.
    """
    if wanted.name is None:
        sought = color_within(wanted.value)
    else:
        pair = (wanted.name, wanted.value)
        sought = next((color for color in COLORS if color in pair), str(pair))
    return any(matches(color_within(value), sought) for value in chosen.values())
