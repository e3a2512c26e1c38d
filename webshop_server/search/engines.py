"""Indexes of either engine over a catalogue: built anew, or saved in a folder and loaded."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp

from turngym.webshop_server.catalogue import AnyCatalogue
from turngym.webshop_server.product import Product
from turngym.webshop_server.search.bm25 import BM25Index
from turngym.webshop_server.search.index_folder import check_place
from turngym.webshop_server.search.lucene import LuceneIndex
from turngym.webshop_server.settings import Engine

SearchIndex = BM25Index | LuceneIndex


def documents_of(catalogue: Mapping[str, Product]) -> Iterator[tuple[str, str]]:
    """Yield what is searched: the asin and the text of every product."""
    return ((asin, product.searchable_text) for asin, product in catalogue.items())


def save_index(engine: Engine, documents: Iterable[tuple[str, str]], folder: Path, *, fingerprint: str) -> None:
    """Write an index, in the place of one that may be there; it appears under its name when it is complete.

    Args:
        engine: Which engine is to search it.
        documents: Pairs of an identifier, each unique, and a text.
        folder: Where the index will be.
        fingerprint: What the documents are.

    Raises:
        LuceneNotInstalledError: Lucene is asked for, and a package is missing.
        OSError: The folder cannot be written.
        SearchIndexError: Something else is there.
        ValueError: There is no document, or an identifier comes twice.
    """
    check_place(folder)
    if engine == "bm25":
        BM25Index.build(documents, fingerprint=fingerprint).save(folder)
    else:
        LuceneIndex.build(documents, folder, fingerprint=fingerprint)


def open_index(engine: Engine, catalogue: AnyCatalogue, folder: str = "") -> SearchIndex:
    """Return an index over a catalogue: the saved one, or a new one that lasts as long as the process.

    Args:
        engine: Which engine searches.
        catalogue: The products.
        folder: A saved index over them; a new one if empty, in memory, or for Lucene in a temporary folder.

    Raises:
        LuceneNotInstalledError: Lucene is asked for, and a package is missing.
        SearchIndexError: There is no index, it is damaged, of another engine, or one over another catalogue.
        ValueError: The catalogue is empty.
    """
    load = BM25Index.load if engine == "bm25" else LuceneIndex.load
    if folder:
        return load(Path(folder), fingerprint=catalogue.fingerprint)
    if engine == "bm25":
        return BM25Index.build(documents_of(catalogue))
    place = _temporary_folder() / "index"
    LuceneIndex.build(documents_of(catalogue), place)
    return load(place)


def _temporary_folder() -> Path:
    """Return a folder that is removed when this process ends; a child of a fork leaves it alone."""
    folder, process = Path(mkdtemp(prefix="turngym-")), os.getpid()

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
