"""Where agents are measured: a catalogue, and the protocol by which it is played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from turngym._errors import InputError
from turngym.agents.episode import Episode
from turngym.benchmarks.cells import Outcome, Stand
from turngym.benchmarks.webshop.outcomes import ShopOutcome, shop_outcome
from turngym.envs.making import turn_limit
from turngym.envs.splits import Split
from turngym.webshop_server.goals import Goals
from turngym.webshop_server.settings import ShopSettings
from turngym.webshop_server.shop import LocalBackend, open_shop

SHOP_ARGUMENTS = {"num_products": "num_products", "catalogue": "catalogue", "goals": "goals", "mode": "mode",
                  "shop_seed": "seed", "engine": "engine", "index": "index", "nouns": "nouns"}  # fmt: skip
"""From the arguments of the environment that say which shop it is to the settings of the shop."""
DEFAULT_SIZE = 1_000
"""Products of the generated catalogue that is played where none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Rules of measurement: which environment, with which arguments."""

    name: str
    """How it is called on the command line and in tables."""
    env_id: str
    """The registered environment."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments beyond the registered ones."""
    about: str
    """What it is, in a sentence."""


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="fixed",
            env_id="turngym/WebShop-v0",
            about="15 turns; synthetic goals, each of which can be fulfilled; the original's defects are repaired.",
        ),
        Protocol(
            name="faithful",
            env_id="turngym/WebShop-v0",
            arguments={"mode": "faithful"},
            about="15 turns; synthetic goals; pages, search and rewards as the original has them, defects included.",
        ),
        Protocol(
            name="gigpo",
            env_id="turngym/WebShopGiGPO-v0",
            about="15 turns; synthetic goals, the faithful shop; prompt and reward (10 for all of the wish, else 0) as "
            "in GiGPO, Feng et al., arXiv 2505.10978.",
        ),
        Protocol(
            name="original",
            env_id="turngym/WebShopOriginal-v0",
            about="100 turns; goals that people wrote, the faithful shop, graded reward: the protocol of the original, "
            "Yao et al., arXiv 2207.01206.",
        ),
    )
}
"""Those that can be measured, in the order of tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Products to shop among."""

    name: str
    """How it is called in tables."""
    arguments: Mapping[str, Any]
    """Arguments of the environment."""

    @classmethod
    def generated(cls, num_products: int) -> Catalogue:
        """Return the generated catalogue of a size."""
        return cls(name=f"generated, {num_products:,} products", arguments={"num_products": num_products})

    @classmethod
    def read(cls, path: Path, index: Path | None = None) -> Catalogue:
        """Return all of a catalogue file or of a folder with the original's files.

        Args:
            path: The file or folder.
            index: A saved index over it.
        """
        arguments: dict[str, Any] = {"catalogue": str(path), "num_products": 0}
        if index is not None:
            arguments["index"] = str(index)
        return cls(name=path.name or path.resolve().name, arguments=arguments)


@dataclass(frozen=True, kw_only=True)
class ShopStand(Stand):
    """A catalogue that is played by a protocol."""

    outcome: ClassVar[type[Outcome]] = ShopOutcome

    catalogue: Catalogue
    protocol: Protocol
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the environment, such as `max_episode_steps`."""

    def __post_init__(self) -> None:
        """Check that the shop is one in this process.

        Raises:
            InputError: It is not.
        """
        if self.extra.get("url"):
            raise InputError("the benchmark opens shops in its own process: leave out url, and name a --catalogue")

    @property
    def env_id(self) -> str:
        """The registered environment."""
        return self.protocol.env_id

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the environment beyond the registered ones."""
        return {**self.catalogue.arguments, **self.protocol.arguments, **self.extra}

    @property
    def title(self) -> str:
        """How it is called in headings."""
        return f"{self.catalogue.name}, {self.protocol.name}"

    def shop(self) -> LocalBackend:
        """Return the shop, which is opened once per process."""
        given = {**gym.spec(self.env_id).kwargs, **self.arguments}
        settings = {setting: given[name] for name, setting in SHOP_ARGUMENTS.items() if name in given}
        return open_shop(ShopSettings(**settings))

    def num_goals(self, split: Split) -> int:
        """Return how many distinct goals a split has; indices beyond begin again."""
        first, end = self.shop().goal_range(split)
        return end - first

    def unseen_products(self, split: Split) -> frozenset[int]:
        """Return the indices of those goals of a split whose product no goal of training wants."""
        shop = self.shop()
        assert isinstance(shop.goals, Goals)
        own, trained = (shop.goals.positions(*shop.goal_range(one)) for one in (split, "train"))
        return frozenset(np.flatnonzero(~np.isin(own, trained)).tolist())

    def describe(self, presentation: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what decides how it plays, for JSON: equal for equal shops, wherever their files are."""
        given = {**gym.spec(self.env_id).kwargs, **self.arguments, **(presentation or {})}
        others = {name: value for name, value in sorted(given.items()) if name not in SHOP_ARGUMENTS}
        others.pop("max_episode_steps", None)
        return {"env_id": self.env_id, "shop": self.shop().setup, "arguments": others,
                "turns": turn_limit(self.env_id, self.arguments)}  # fmt: skip

    def outcomes(self, episodes: Sequence[Episode], split: Split) -> list[ShopOutcome]:
        """Return what came of the episodes of a cell, in their order."""
        num_goals = self.num_goals(split)
        return [shop_outcome(episode, num_goals) for episode in episodes]


def stands(
    catalogues: Sequence[Path],
    indexes: Sequence[Path],
    sizes: Sequence[int],
    protocols: Sequence[str],
    extra: Mapping[str, Any],
) -> list[ShopStand]:
    """Return every catalogue by every protocol, generated catalogues first.

    Args:
        catalogues: Catalogue files, or folders with files of the original.
        indexes: Saved indexes over these, as many, or none.
        sizes: Sizes of generated catalogues; one of 1,000 products where no catalogue is named either.
        protocols: Names in `PROTOCOLS`.
        extra: Further arguments of the environment.

    Raises:
        InputError: A shop is to be on a server, or two catalogues have one name.
    """
    chosen = [Catalogue.generated(size) for size in sizes or ([] if catalogues else [DEFAULT_SIZE])]
    found: Sequence[Path | None] = indexes or [None] * len(catalogues)
    chosen += [Catalogue.read(path, index) for path, index in zip(catalogues, found, strict=True)]
    names = [catalogue.name for catalogue in chosen]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"two catalogues are called {doubled!r}, and would share their rows; rename one of them")
    return [ShopStand(catalogue=catalogue, protocol=PROTOCOLS[name], extra=extra)
            for catalogue in chosen for name in protocols]  # fmt: skip
