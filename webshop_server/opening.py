"""Opening a shop: its catalogue, search engine and goals from a few settings, once per process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from turngym.webshop_server.bm25 import BM25Index
from turngym.webshop_server.catalogue import Product
from turngym.webshop_server.catalogues import open_catalogue
from turngym.webshop_server.faithful_shop import FaithfulShop
from turngym.webshop_server.fixed_shop import FixedShop
from turngym.webshop_server.goals import Goal, SeededDraws, human_goals, shuffled, synthetic_goals
from turngym.webshop_server.shop import Shop

GoalKind = Literal["synthetic", "human"]
Mode = Literal["fixed", "faithful"]
Split = Literal["train", "validation", "test"]
TEST_GOALS, VALIDATION_GOALS = 500, 1000
"""The most goals of the test and validation splits; fewer where they would be more than one and two tenths."""
MIN_GOALS = 3


@dataclass(frozen=True, kw_only=True)
class ShopSettings:
    """Which shop to open."""

    num_products: int = 1000
    """Size of the catalogue; of one that is read, the first so many records, or all with 0."""
    catalogue: str = ""
    """A catalogue file, or a folder with the original's files; the generated catalogue if empty."""
    goals: GoalKind = "synthetic"
    """Who wishes: "synthetic" or "human"."""
    mode: Mode = "fixed"
    """"fixed", or "faithful" to the original."""
    seed: int = 0
    """Seeds the generated catalogue and draws within ranges of prices."""


@dataclass(frozen=True)
class OpenedShop:
    """A shop and the goals of its visitors."""

    shop: Shop
    goals: Sequence[Goal]
    """All goals in their fixed order."""

    def goal_number(self, split: Split, index: int) -> int:
        """Return the number of goal `index` of a split in the fixed order; beyond the last one they begin again."""
        first, last = self._range(split)
        return first + index % (last - first)

    def _range(self, split: Split) -> tuple[int, int]:
        total = len(self.goals)
        test = min(TEST_GOALS, max(1, total // 10))
        validation = test + min(VALIDATION_GOALS, max(1, total // 5))
        return {"test": (0, test), "validation": (test, validation), "train": (validation, total)}[split]


@lru_cache(maxsize=4)
def open_shop(settings: ShopSettings) -> OpenedShop:
    """Return the shop of these settings, the same one for all who ask in this process.

    Raises:
        ValueError: A setting has no such value, or the catalogue has too few goals for three splits.
        CatalogueFileError: A file of the catalogue cannot be read.
    """
    for name, value, known in (("goals", settings.goals, get_args(GoalKind)), ("mode", settings.mode, get_args(Mode))):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    catalogue, index = _stock(settings.catalogue, settings.num_products, settings.seed)
    draws = SeededDraws(settings.seed)
    goals = (synthetic_goals if settings.goals == "synthetic" else human_goals)(catalogue.values(), draws)
    if len(goals) < MIN_GOALS:
        raise ValueError(f"the catalogue has {len(goals)} {settings.goals} goals, and the splits need at least "
                         f"{MIN_GOALS}; take more products")  # fmt: skip
    kind = FaithfulShop if settings.mode == "faithful" else FixedShop
    return OpenedShop(kind(catalogue, index.search, draws), shuffled(goals))


@lru_cache(maxsize=4)
def _stock(path: str, num_products: int, seed: int) -> tuple[Mapping[str, Product], BM25Index]:
    """Return a catalogue and the index over it, which shops of all modes and goals share."""
    catalogue = open_catalogue(path, num_products=num_products or None, seed=seed)
    return catalogue, BM25Index.build((asin, product.searchable_text) for asin, product in catalogue.items())
