"""A shop in this process: its catalogue, search engine and goals from a few settings, opened once per process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any, Self, get_args

from turngym.webshop_server.catalogue import AnyCatalogue, goals_of, open_catalogue
from turngym.webshop_server.goals import Goal, SeededDraws
from turngym.webshop_server.pages import Page, Part
from turngym.webshop_server.reward import NounExtractor, Reward, SpacyNouns, words_as_nouns
from turngym.webshop_server.search import SearchIndex, open_index
from turngym.webshop_server.settings import Engine, GoalKind, Mode, ShopSettings
from turngym.webshop_server.shop.backend import Split
from turngym.webshop_server.shop.faithful import FaithfulShop
from turngym.webshop_server.shop.fixed import FixedShop
from turngym.webshop_server.shop.shop import Move, Shop
from turngym.webshop_server.shop.wishes import Wishes

TEST_GOALS, VALIDATION_GOALS = 500, 1000
"""The most goals of the test and validation splits; in a small catalogue they get one tenth and one fifth of all."""
MIN_GOALS = 3
HELD_OUT: tuple[Split, ...] = ("validation", "test")
"""The splits that training never sees."""


class LocalSession:
    """A session of a shop in this process; implements `ShopSession`.

    Args:
        shop: The shop.
        page: Where the session begins.
    """

    def __init__(self, shop: Shop, page: Page) -> None:
        self.shop = shop
        self.page = page
        self._parts: tuple[Page, list[Part]] | None = None
        self._worth: tuple[Page, Reward | None] | None = None

    @property
    def parts(self) -> list[Part]:
        """What the page shows, from top to bottom."""
        if self._parts is None or self._parts[0] is not self.page:
            self._parts = (self.page, self.shop.layout(self.page))
        return self._parts[1]

    @property
    def worth(self) -> Reward | None:
        """What buying the product of the page as it is chosen would earn, or has earned; None where there is none."""
        if self._worth is None or self._worth[0] is not self.page:
            self._worth = (self.page, self.shop.worth(self.page))
        return self._worth[1]

    def act(self, action: str) -> str:
        """Do `search[words]` or `click[text]`; return why it means nothing here, or nothing."""
        move = self._move(action)
        self.page = move.page
        return move.problem

    def _move(self, action: str) -> Move:
        """Return what an action leads to; a page that was laid out is not laid out again."""
        is_laid_out = self._parts is not None and self._parts[0] is self.page
        return self.shop.act(self.page, action, self.parts if is_laid_out else None)

    def end(self) -> None:
        """Do nothing: a shop in this process keeps no record of its sessions."""


@dataclass(frozen=True)
class LocalBackend:
    """A shop in this process and its goals; implements `ShopBackend`."""

    shop: Shop
    goals: Sequence[Goal]
    """All goals in their fixed order."""
    setup: str = ""
    """What tells this shop from others that play differently, 32 hexadecimal digits; empty where nobody asks."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: copies of an environment share the shop and its goals."""
        return self

    @property
    def mode(self) -> Mode:
        """Whether it is `faithful` to the original, or `fixed`."""
        return self.shop.mode

    def search(self, query: str, limit: int) -> Sequence[str]:
        """Return the asins that a query finds, best first, at most so many."""
        return self.shop.search(query, limit)

    def open_session(self, number: int) -> LocalSession:
        """Begin a session with the goal of this number in the fixed order; after the last one come those of wishes.

        Raises:
            InputError: There is no such wish.
        """
        goal = self.goals[number] if number < len(self.goals) else self.wishes.goal(number - len(self.goals))
        return LocalSession(self.shop, self.shop.open(goal, str(number)))

    @cached_property
    def wishes(self) -> Wishes:
        """What can be wished for here; the goal of wish `w` is that of number `len(goals) + w`."""
        return Wishes(self.shop, self.goals, {split: self.goal_range(split) for split in HELD_OUT})

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
def open_shop(settings: ShopSettings) -> LocalBackend:
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
    setup = "|".join((catalogue.fingerprint, settings.goals, settings.mode, str(settings.seed), settings.nouns))
    return LocalBackend(kind(catalogue, index.search, draws, _nouns(settings.nouns)), goals,
                        setup=blake2b(setup.encode(), digest_size=16).hexdigest())  # fmt: skip


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
    """Return what finds nouns; shops share it, since it caches the nouns of titles."""
    return SpacyNouns(model) if model else words_as_nouns
