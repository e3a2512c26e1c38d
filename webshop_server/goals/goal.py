"""Goals: what a shopper is asked to buy, and the most it may cost.

A goal is a wish for one product of the catalogue. Synthetic goals combine a product's synthetic instruction with every
choice of its options; human goals are wishes in people's own words. Both get a price bound, drawn a little above the
product's price. Yao et al., arXiv 2207.01206, sections 3 and 4.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from turngym.webshop_server.product import Product
from turngym.webshop_server.settings import GoalKind

NO_BOUND = 1_000_000.0
"""The price bound, in dollars, of a goal that names none."""
BOUNDS = tuple(range(10, 1000, 10))
"""Price bounds to draw from, in dollars."""
BOUND_CHOICES = 4
"""How many bounds above a price there are to draw from."""


@dataclass(frozen=True, slots=True)
class WantedOption:
    """An option that the shopper has to choose."""

    name: str | None
    """The option, such as `color`; a person names a value alone."""
    value: str
    """The value of the option, such as `navy blue`."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What to buy."""

    asin: str
    """A product that fulfills it."""
    title: str
    category: str
    query: str
    product_category: str
    instruction: str
    """The wish as the shopper reads it, with the price bound."""
    attributes: tuple[str, ...]
    options: tuple[WantedOption, ...]
    price_bound: float
    """The most that may be spent, in dollars; `NO_BOUND` for any price."""
    weight: float = 1.0
    """Relative frequency with which it is drawn: the mean of 1 / frequency over its attributes."""


class Draws(Protocol):
    """Prices and price bounds, which the original draws at random when it starts."""

    def price(self, product: Product) -> float:
        """Return what the product costs, in dollars, within its range."""

    def bound(self, product: Product, price: float) -> float:
        """Return the price bound of the product's goals, in dollars, or `NO_BOUND`."""


class SeededDraws:
    """Draws that depend on a seed and the product alone, so that every process has the same prices.

    Args:
        seed: Any integer.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def price(self, product: Product) -> float:
        """Return the price, or draw it uniformly between the ends of its range."""
        return product.prices[0] if len(product.prices) == 1 else self._rng("price", product).uniform(*product.prices)

    def bound(self, product: Product, price: float) -> float:
        """Draw two of the next four multiples of 10 dollars and take the larger; there is none close to 1,000."""
        first = bisect_right(BOUNDS, price)
        above = BOUNDS[first : first + BOUND_CHOICES]
        return float(max(self._rng("bound", product).sample(above, 2))) if len(above) >= 2 else NO_BOUND

    def _rng(self, purpose: str, product: Product) -> random.Random:
        return random.Random(f"{self._seed} {purpose} {product.asin}")


@dataclass(frozen=True)
class RecordedDraws:
    """Prices and bounds recorded from a run of the original, by asin."""

    prices: Mapping[str, float]
    bounds: Mapping[str, float]

    def price(self, product: Product) -> float:
        """Return the recorded price."""
        return self.prices[product.asin]

    def bound(self, product: Product, price: float) -> float:
        """Return the recorded bound."""
        return self.bounds[product.asin]


def count_goals(product: Product, kind: GoalKind) -> int:
    """Return how many goals a product has: one for every choice of its options, or one for every person's wish."""
    if kind == "human":
        return sum(1 for wish in product.human if wish.attributes)
    if product.synthetic is None or not product.synthetic.attributes:
        return 0
    return math.prod(len(values) for values in product.options.values())


def goal_of(product: Product, kind: GoalKind, number: int, draws: Draws) -> Goal:
    """Return one of a product's goals, with weight 1.

    Args:
        product: What is wished for; it has such a goal.
        kind: Whose wish it is.
        number: Which of them, from 0 to `count_goals` - 1.
        draws: The price and its bound.
    """
    make = _synthetic_goal if kind == "synthetic" else _human_goal
    return make(product, number, draws.bound(product, draws.price(product)))


def wished_goal(
    product: Product, attributes: tuple[str, ...], options: tuple[tuple[str, str], ...], bound: float
) -> Goal:
    """Return the goal of somebody who wants a product for these attributes, with these options.

    Args:
        product: A product that fulfills it.
        attributes: At least one of its own.
        options: Names and values of its options, one value at most for each.
        bound: The price bound in dollars, or `NO_BOUND`.
    """
    text = f"I want {', '.join((product.query, *attributes))}{_with(options)}"
    return _goal(product, text, attributes, tuple(WantedOption(*pair) for pair in options), bound)


def _synthetic_goal(product: Product, number: int, bound: float) -> Goal:
    assert product.synthetic is not None
    chosen = _choice(product.options, number)
    options = tuple(WantedOption(*pair) for pair in chosen)
    return _goal(product, product.synthetic.text + _with(chosen), product.synthetic.attributes, options, bound)


def _with(options: Sequence[tuple[str, str]]) -> str:
    """Return the words that name options in an instruction."""
    wanted = ", and ".join(f"{name}: {value}" for name, value in options)
    return f" with {wanted}" if wanted else ""


def _choice(options: Mapping[str, tuple[str, ...]], number: int) -> list[tuple[str, str]]:
    """Return one choice of all options, sorted by name; the last option changes fastest."""
    chosen = []
    for name in sorted(options, reverse=True):
        number, place = divmod(number, len(options[name]))
        chosen.append((name, options[name][place]))
    return chosen[::-1]


def _human_goal(product: Product, number: int, bound: float) -> Goal:
    wish = [wish for wish in product.human if wish.attributes][number]
    options = tuple(WantedOption(None, value) for value in wish.options)
    return _goal(product, wish.text.strip("."), wish.attributes, options, bound)


def _goal(product: Product, instruction: str, attributes: tuple[str, ...], options: tuple[WantedOption, ...],
          bound: float) -> Goal:  # fmt: skip
    price_text = "" if bound == NO_BOUND else f", and price lower than {bound:.2f} dollars"
    return Goal(
        asin=product.asin,
        title=product.title,
        category=product.category,
        query=product.query,
        product_category=product.product_category,
        instruction=instruction + price_text,
        attributes=attributes,
        options=options,
        price_bound=bound,
    )
