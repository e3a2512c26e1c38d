"""Wishes that somebody writes, as goals of a shop: read from a text, verified, and numbered by their content.

    memory cards; high speed; plastic case; capacity: 64gb; style: v60; 40

is a wish for a product of that kind with these attributes and options, for at most 40 dollars; a value may stand
without the name of its option. It is for the first product of the catalogue whose purchase fulfills it. With N
products its number is

    N * (which attributes, options and price bound) + (which product).

Case and spaces do not matter. Nothing is kept of a wish but its number.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

from turngym._errors import InputError
from turngym.webshop_server.goals import BOUNDS, NO_BOUND, Goal, wished_goal
from turngym.webshop_server.pages import Page, PageKind
from turngym.webshop_server.product import Product
from turngym.webshop_server.shop.backend import Split
from turngym.webshop_server.shop.shop import Shop

MAX_WISHES = 2**62
"""How many wishes can be numbered. Products with so many attributes and options that theirs cannot are never wished
for."""
NO_PRICE = "any price"
"""The end of a wish without a price bound."""
_PRICES = (NO_BOUND, *map(float, BOUNDS))

_Content = tuple[str, frozenset[str], frozenset[str]]
"""Kind, attributes and values of options: what makes two wishes one, whatever they may cost."""


class WishError(InputError):
    """A text that is no wish; the message says why."""


class UnfulfilledWishError(WishError):
    """A wish that no product of the shop fulfills."""


class Wishes:
    """Reads, writes and numbers the wishes that a shop can fulfill.

    The products of a kind are looked up in a table, for which the first wish that is read goes through the catalogue.

    Args:
        shop: The shop.
        goals: Its goals in their fixed order.
        ranges: The numbers of those of the splits that training never sees.
    """

    def __init__(self, shop: Shop, goals: Sequence[Goal], ranges: Mapping[Split, tuple[int, int]]) -> None:
        self._shop = shop
        self._goals = goals
        self._ranges = ranges
        self._asins = tuple(shop.catalogue)

    def read(self, text: str) -> tuple[Split, int]:
        """Return split and number of a wish.

        The split is that of a goal for the same kind with the same attributes and values, and otherwise that of
        training.

        Raises:
            WishError: It is none; as `UnfulfilledWishError`, if no product fulfills it.
        """
        kind, *wanted, price = _pieces(text)
        if len(set(wanted)) < len(wanted):
            raise WishError("every attribute and option is wished for once")
        bound = _bound(price)
        for position in self._by_kind.get(kind, ()):
            number = self._number(position, wanted, bound)
            goal = None if number is None else self._goal(number)
            if number is not None and goal is not None:
                return self.split_of(goal), number
        raise UnfulfilledWishError("the shop has no product with all that at such a price" if kind in self._by_kind
                                   else "the shop has no such kind of product")  # fmt: skip

    def text(self, goal: Goal) -> str:
        """Return a goal as the wish that it is."""
        price = NO_PRICE if goal.price_bound == NO_BOUND else f"{goal.price_bound:.0f}"
        options = (f"{option.name}: {option.value}" if option.name else option.value for option in goal.options)
        return "; ".join((goal.query, *goal.attributes, *options, price))

    def goal(self, number: int) -> Goal:
        """Return the goal that a number stands for.

        Raises:
            InputError: There is no such wish.
        """
        goal = self._goal(number)
        if goal is None:
            raise InputError(f"the shop has no wish of the number {number}")
        return goal

    def _goal(self, number: int) -> Goal | None:
        """Return the goal that a number stands for; None for no wish, or one that its product does not fulfill."""
        inner, position = divmod(number, len(self._asins))
        product = self._product(position)
        inner, mask = divmod(inner, 2 ** len(product.attributes))
        attributes = tuple(one for place, one in enumerate(product.attributes) if mask >> place & 1)
        options = []
        for name, values in product.options.items():
            inner, choice = divmod(inner, len(values) + 1)
            options += [(name, values[choice - 1])] if choice else []
        if inner >= len(_PRICES) or not attributes:
            return None
        goal = wished_goal(product, attributes, tuple(sorted(options)), _PRICES[inner])
        return goal if self._fulfills(product, goal) else None

    def split_of(self, goal: Goal) -> Split:
        """Return the split of a wish, given as its goal."""
        return self._held_out.get(_content(goal), "train")

    def _number(self, position: int, wanted: Sequence[str], bound: float) -> int | None:
        """Return the number of a wish for a product; None where that lacks an attribute or an option."""
        product = self._product(position)
        attributes, options = _squashed(product)
        mask, choices = 0, [0] * len(product.options)
        for piece in wanted:
            if piece in attributes:
                mask |= 1 << attributes[piece]
            elif piece in options and not choices[options[piece][0]]:
                option, choice = options[piece]
                choices[option] = choice + 1
            else:
                return None
        inner = _PRICES.index(bound)
        for choice, values in zip(reversed(choices), reversed([*product.options.values()]), strict=True):
            inner = inner * (len(values) + 1) + choice
        return ((inner << len(product.attributes)) + mask) * len(self._asins) + position

    def _fulfills(self, product: Product, goal: Goal) -> bool:
        """Return whether buying a product with the wanted options is all that was asked for."""
        chosen = {option.name: option.value for option in goal.options if option.name}
        page = Page(session="", goal=goal, kind=PageKind.ITEM, asin=product.asin, chosen=chosen)
        return self._shop.reward(page).total == 1.0

    def _product(self, position: int) -> Product:
        return self._shop.catalogue[self._asins[position]]

    @cached_property
    def _by_kind(self) -> Mapping[str, Sequence[int]]:
        """The positions of the products of every kind that can be wished for."""
        places = defaultdict(list)
        for position, product in enumerate(self._shop.catalogue.values()):
            ways = math.prod(len(values) + 1 for values in product.options.values()) << len(product.attributes)
            if ways * len(_PRICES) <= MAX_WISHES // len(self._asins):
                places[_squash(product.query)].append(position)
        return places

    @cached_property
    def _held_out(self) -> Mapping[_Content, Split]:
        """The contents of all goals that training never sees, with their split."""
        return {_content(self._goals[number]): split
                for split, (first, end) in self._ranges.items() for number in range(first, end)}  # fmt: skip


def _pieces(text: str) -> list[str]:
    """Return the pieces of a wish, kind and price included.

    Raises:
        WishError: They are too few.
    """
    pieces = [_squash(piece) for piece in text.split(";")]
    if len(pieces) < 3 or not all(pieces):
        raise WishError("a wish is a kind of product, at least one attribute, options if there are any, and the most "
                        "it may cost in dollars, between semicolons")  # fmt: skip
    return pieces


def _bound(price: str) -> float:
    """Return a price bound.

    Raises:
        WishError: It is none.
    """
    if price == _squash(NO_PRICE):
        return NO_BOUND
    if price.isascii() and price.isdecimal() and len(price) <= 4 and int(price) in BOUNDS:
        return float(price)
    raise WishError(f"a wish ends with the most it may cost: a multiple of ten from {BOUNDS[0]} to {BOUNDS[-1]} "
                    f"dollars, or {NO_PRICE!r}")  # fmt: skip


def _squash(text: str) -> str:
    """Return a text in lower case without any space."""
    return "".join(text.lower().split())


def _squashed(product: Product) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """Return the places of a product's attributes, and those of its options with those of their values.

    A value is found by `name:value`, and, as people have it, without the name; of equal ones the first is meant.
    """
    attributes: dict[str, int] = {}
    for place, attribute in enumerate(product.attributes):
        attributes.setdefault(_squash(attribute), place)
    places = [(name, value, (option, choice)) for option, (name, values) in enumerate(product.options.items())
              for choice, value in enumerate(values)]  # fmt: skip
    options: dict[str, tuple[int, int]] = {}
    for name, value, where in places:
        options.setdefault(_squash(f"{name}:{value}"), where)
    for _, value, where in places:
        options.setdefault(_squash(value), where)
    return attributes, options


def _content(goal: Goal) -> _Content:
    return (_squash(goal.query), frozenset(map(_squash, goal.attributes)),
            frozenset(_squash(option.value) for option in goal.options))  # fmt: skip
