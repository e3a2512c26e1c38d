"""The goals of a catalogue in their fixed order, which is known before any of them is made.

A goal costs a product that may lie on the disk, and there can be millions. What is kept of them are numbers: how many
goals come before those of a product, and the order of all. A goal is made when it is asked for.

Suffixes of arrays: H products that have goals, and G goals.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from turngym.webshop_server.goals.goal import Draws, Goal, count_goals, goal_of
from turngym.webshop_server.product import Product
from turngym.webshop_server.settings import GoalKind

SHUFFLE_SEED = 233
"""Orders the goals, as the original does; splits are ranges of this order."""
MAX_GOALS = 100_000_000
"""The most goals of one kind; more come only of a product with a mistake in its options."""


@dataclass(frozen=True)
class GoalOrder:
    """The fixed order of the goals of a catalogue: which goal of which product comes at an index."""

    kind: GoalKind
    holders_H: NDArray[np.uint32]
    """The positions in the catalogue of products that have goals, ascending."""
    firsts_H: NDArray[np.uint32]
    """For each of these products, the number of goals of all products before it."""
    numbers_G: NDArray[np.uint32]
    """The goals in their fixed order, each as its number when goals are counted product by product."""
    frequencies: Mapping[str, int]
    """How many synthetic goals name an attribute."""

    def __len__(self) -> int:
        return len(self.numbers_G)

    def place(self, index: int) -> tuple[int, int]:
        """Return the position of the product whose goal comes at an index, and which of its goals it is."""
        number = self.numbers_G[index]
        holder = int(np.searchsorted(self.firsts_H, number, side="right")) - 1
        return int(self.holders_H[holder]), int(number - self.firsts_H[holder])

    def positions(self, first: int, end: int) -> NDArray[np.uint32]:
        """Return the positions of the products of goals from index `first` to before `end`, one for each goal."""
        holders = np.searchsorted(self.firsts_H, self.numbers_G[first:end], side="right") - 1
        return self.holders_H[holders]

    def weight(self, attributes: Sequence[str]) -> float:
        """Return the weight of a goal with these attributes: the mean of 1 / frequency, and 1 for a person's."""
        if self.kind == "human":
            return 1.0
        return sum(1.0 / self.frequencies[attribute] for attribute in attributes) / len(attributes)


class GoalCensus:
    """Counts the goals of a catalogue, product by product.

    Args:
        kind: Which goals.
    """

    def __init__(self, kind: GoalKind) -> None:
        self._kind: GoalKind = kind
        self._holders, self._firsts = array("I"), array("I")
        self._frequencies: Counter[str] = Counter()
        self._total = 0

    def add(self, position: int, product: Product) -> None:
        """Count the goals of the product at a position, which is higher than those before.

        Raises:
            ValueError: These are too many.
        """
        count = count_goals(product, self._kind)
        if not count:
            return
        self._holders.append(position)
        self._firsts.append(self._total)
        self._total += count
        if self._total > MAX_GOALS:
            raise ValueError(f"there are more than {MAX_GOALS:,} {self._kind} goals, {count:,} of them for the product "
                             f"{product.asin!r} alone")  # fmt: skip
        if self._kind == "synthetic" and product.synthetic is not None:
            for attribute in product.synthetic.attributes:
                self._frequencies[attribute] += count

    def order(self) -> GoalOrder:
        """Return the order of all goals counted."""
        numbers = array("I", range(self._total))
        random.Random(SHUFFLE_SEED).shuffle(numbers)
        holders_H, firsts_H, numbers_G = (
            np.array(values, dtype=np.uint32) for values in (self._holders, self._firsts, numbers)
        )
        return GoalOrder(self._kind, holders_H, firsts_H, numbers_G, dict(self._frequencies))


class Shelf(Protocol):
    """Products in their order."""

    def product_at(self, position: int) -> Product:
        """Return the product at a position, from 0."""


class Goals(Sequence[Goal]):
    """All goals of one kind in their fixed order, each made when it is asked for.

    Args:
        shelf: The products.
        order: The order of their goals.
        draws: Prices and their bounds.
    """

    def __init__(self, shelf: Shelf, order: GoalOrder, draws: Draws) -> None:
        self._shelf = shelf
        self._order = order
        self._draws = draws

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Goal: ...

    @overload
    def __getitem__(self, index: slice) -> list[Goal]: ...

    def __getitem__(self, index: int | slice) -> Goal | list[Goal]:
        chosen = range(len(self))[index]
        return self._make(chosen) if isinstance(chosen, int) else list(map(self._make, chosen))

    def positions(self, first: int, end: int) -> NDArray[np.uint32]:
        """Return which products the goals of a range want, by their positions, without making the goals.

        Args:
            first: Index of the first goal.
            end: Index after the last one.
        """
        return self._order.positions(first, end)

    def _make(self, index: int) -> Goal:
        position, number = self._order.place(index)
        goal = goal_of(self._shelf.product_at(position), self._order.kind, number, self._draws)
        return replace(goal, weight=self._order.weight(goal.attributes))
