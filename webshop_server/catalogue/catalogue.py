"""A catalogue in memory, and the fingerprint that tells one catalogue from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from turngym.webshop_server.goals import GoalCensus, GoalOrder
from turngym.webshop_server.product import Product
from turngym.webshop_server.settings import GoalKind


class Fingerprint:
    """A hash over what search and goals depend on, product by product in their order; pictures do not count."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(b"turngym catalogue 1", digest_size=16)

    def add(self, product: Product) -> None:
        """Add the next product to the hash."""
        wishes = [[wish.text, wish.attributes, wish.options] for wish in (product.synthetic, *product.human) if wish]
        content = [
            product.asin, product.title, product.description, product.bullet_points, product.category, product.query,
            product.product_category, product.prices, list(product.options.items()), product.attributes,
            product.synthetic is not None, wishes,
        ]  # fmt: skip
        self._hash.update(json.dumps(content, separators=(",", ":")).encode())

    def hexdigest(self) -> str:
        """Return the hash of the products so far: 32 hexadecimal digits."""
        return self._hash.hexdigest()


class Catalogue(Mapping[str, Product]):
    """Products by their asin, in the order of their file, held in memory.

    Args:
        products: Those whose asin came before are left out.
    """

    def __init__(self, products: Iterable[Product]) -> None:
        self._products: dict[str, Product] = {}
        for product in products:
            self._products.setdefault(product.asin, product)

    def __getitem__(self, asin: str) -> Product:
        return self._products[asin]

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)

    def product_at(self, position: int) -> Product:
        """Return the product at a position, from 0."""
        return self._in_order[position]

    def goal_order(self, kind: GoalKind) -> GoalOrder:
        """Return the order of the goals of one kind, counted anew at every call.

        Raises:
            ValueError: They are more than `MAX_GOALS`.
        """
        census = GoalCensus(kind)
        for position, product in enumerate(self._products.values()):
            census.add(position, product)
        return census.order()

    @cached_property
    def _in_order(self) -> tuple[Product, ...]:
        return tuple(self._products.values())

    @cached_property
    def fingerprint(self) -> str:
        """The hash of all products: 32 hexadecimal digits, the same in memory and in SQLite."""
        fingerprint = Fingerprint()
        for product in self._products.values():
            fingerprint.add(product)
        return fingerprint.hexdigest()
