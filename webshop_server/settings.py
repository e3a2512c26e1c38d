"""Which shop to open. Nothing is imported here, so that the command line reads these settings without the shop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["fixed", "faithful"]
"""The shop with the original's defects repaired, or faithful to the original with all of them."""
GoalKind = Literal["synthetic", "human"]
"""Who wishes: a goal is made from a product's data, or written by a person."""
Engine = Literal["bm25", "lucene"]
"""What can search an index: the built-in engine, or that of the original WebShop."""


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
    """What searches: "bm25", or "lucene", the original's, which `turngym webshop lucene` installs."""
    index: str = ""
    """A folder with the engine's saved index over this catalogue; a new index is built if empty."""
    nouns: str = ""
    """A model of spaCy that finds the nouns of titles, such as the original's `en_core_web_sm`; a built-in
    rule if empty."""
