"""Opening a shop: its catalogue, search engine and goals from a few settings, once per process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from turngym.webshop_server.catalogues import AnyCatalogue, goals_of, open_catalogue
from turngym.webshop_server.engines import SearchIndex, open_index
from turngym.webshop_server.faithful_shop import FaithfulShop
from turngym.webshop_server.fixed_shop import FixedShop
from turngym.webshop_server.goals import Goal, GoalKind, SeededDraws
from turngym.webshop_server.index_folder import Engine
from turngym.webshop_server.nouns import SpacyNouns, words_as_nouns
from turngym.webshop_server.reward import NounExtractor, Rule
from turngym.webshop_server.shop import Shop
from turngym.webshop_server.visits import LocalVisit, Split

Mode = Literal["fixed", "faithful"]
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
    engine: Engine = "bm25"
    """What searches: "bm25", or "lucene", the original's, which needs packages of its own."""
    index: str = ""
    """A folder with the engine's saved index over this catalogue; a new index is built if empty."""
    nouns: str = ""
    """A model of spaCy that finds the nouns of titles, such as the original's `en_core_web_sm`; a built-in
    rule if empty."""


@dataclass(frozen=True)
class OpenedShop:
    """A shop and the goals of its visitors; implements `Venue`."""

    shop: Shop
    goals: Sequence[Goal]
    """All goals in their fixed order."""

    @property
    def mode(self) -> Rule:
        """Whether it is `faithful` to the original, or `fixed`."""
        return self.shop.rule

    def search(self, query: str, limit: int) -> Sequence[str]:
        """Return the asins that a query finds, best first, at most so many."""
        return self.shop.search(query, limit)

    def visit(self, number: int) -> LocalVisit:
        """Begin a visit with a goal."""
        return LocalVisit(self.shop, self.shop.open(self.goals[number], str(number)))

    def goal_number(self, split: Split, index: int) -> int:
        """Return the number of goal `index` of a split in the fixed order; beyond the last one they begin again."""
        first, end = self.goal_range(split)
        return first + index % (end - first)

    def goal_range(self, split: Split) -> tuple[int, int]:
        """Return the number of the first goal of a split, and the number after its last."""
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
        ImportError: A model of spaCy is asked for, and it or spaCy is not installed.
        LuceneNotInstalledError: Lucene is asked for, and a package is missing.
        SearchIndexError: The index cannot be used, or is one of another engine or over another catalogue.
    """
    for name, value, known in (("goals", settings.goals, get_args(GoalKind)), ("mode", settings.mode, get_args(Mode)),
                               ("engine", settings.engine, get_args(Engine))):  # fmt: skip
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    stock = (settings.catalogue, settings.num_products, settings.seed)
    catalogue, draws = _catalogue(*stock), SeededDraws(settings.seed)
    goals = goals_of(catalogue, settings.goals, draws)
    if len(goals) < MIN_GOALS:
        raise ValueError(f"the catalogue has {len(goals)} {settings.goals} goals, and the splits need at least "
                         f"{MIN_GOALS}; take more products")  # fmt: skip
    index = _index(*stock, settings.engine, settings.index)
    kind = FaithfulShop if settings.mode == "faithful" else FixedShop
    return OpenedShop(kind(catalogue, index.search, draws, _nouns(settings.nouns)), goals)


@lru_cache(maxsize=4)
def _catalogue(path: str, num_products: int, seed: int) -> AnyCatalogue:
    """Return a catalogue, which shops of all modes, goals and engines share."""
    return open_catalogue(path, num_products=num_products or None, seed=seed)


@lru_cache(maxsize=4)
def _index(path: str, num_products: int, seed: int, engine: Engine, folder: str) -> SearchIndex:
    """Return an index over a catalogue, which shops of all modes and goals share."""
    return open_index(engine, _catalogue(path, num_products, seed), folder)


@lru_cache(maxsize=4)
def _nouns(model: str) -> NounExtractor:
    """Return what finds nouns, which shops share, since it remembers titles."""
    return SpacyNouns(model) if model else words_as_nouns
