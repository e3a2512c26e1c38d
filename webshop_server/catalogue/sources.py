"""Where a catalogue comes from: it is generated, or read from files of the original WebShop or from SQLite."""

from __future__ import annotations

from pathlib import Path

from turngym.webshop_server.catalogue.catalogue import Catalogue
from turngym.webshop_server.catalogue.files import CatalogueFiles, read_catalogue
from turngym.webshop_server.catalogue.generated import generate_catalogue
from turngym.webshop_server.catalogue.sidecar import SIDECAR_SUFFIX
from turngym.webshop_server.catalogue.store import StoredCatalogue
from turngym.webshop_server.goals import Draws, Goals
from turngym.webshop_server.settings import GoalKind

AnyCatalogue = Catalogue | StoredCatalogue
"""Products by asin and by position, with the catalogue's fingerprint."""
STORE_SUFFIX = ".sqlite"
"""The suffix by which a catalogue in SQLite is recognized."""


def open_catalogue(path: str = "", *, num_products: int | None = None, seed: int = 0) -> AnyCatalogue:
    """Return a catalogue.

    Args:
        path: A catalogue in SQLite, a file of products of one's own or of the original, or a folder with it and the
            original's files of attributes and instructions; the generated catalogue if empty.
        num_products: Size of a generated catalogue, 1,000 by default; of files, the first so many records, all by
            default. One in SQLite has the size it has.
        seed: Seeds a generated catalogue.

    Raises:
        ValueError: A generated catalogue cannot have this size.
        OSError: The path cannot be read.
        CatalogueFileError: A file is not one of the original's, or is damaged.
        CatalogueStoreError: A catalogue in SQLite cannot be used.
    """
    if not path:
        return generate_catalogue(1000 if num_products is None else num_products, seed)
    place = Path(path)
    if place.suffix == STORE_SUFFIX:
        return StoredCatalogue(place)
    files = [place]
    if place.is_dir():
        files = sorted(path for pattern in ("*.json*", "*.csv*") for path in place.glob(pattern)
                       if path.suffix != SIDECAR_SUFFIX)  # fmt: skip
    return read_catalogue(CatalogueFiles.recognize(files), num_products=num_products)


def goals_of(catalogue: AnyCatalogue, kind: GoalKind, draws: Draws) -> Goals:
    """Return the goals of a catalogue in their fixed order, which one in SQLite has kept.

    Raises:
        ValueError: They are more than `MAX_GOALS`.
        CatalogueStoreError: A catalogue in SQLite is damaged.
    """
    return Goals(catalogue, catalogue.goal_order(kind), draws)
