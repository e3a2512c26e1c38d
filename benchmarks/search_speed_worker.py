"""What the process of an engine in `search_speed` runs: a desk that is asked, line by line, to search and to shop.

It is run as a file with the package of whichever checkout is compared, so it imports nothing that an earlier one lacks.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from turngym.benchmarks import shop as scripted_shopping
from turngym.benchmarks.shop import peak_memory, shop_by_script
from turngym.webshop_server.catalogue import open_catalogue
from turngym.webshop_server.pages import Part, plain_text
from turngym.webshop_server.search import documents_of, save_index
from turngym.webshop_server.settings import ShopSettings
from turngym.webshop_server.shop import MAX_RESULTS, LocalBackend, open_shop

Engine = Literal["bm25", "lucene", "tantivy"]


class Tantivy:
    """An index of tantivy over a catalogue, in memory."""

    def __init__(self, documents: Iterator[tuple[str, str]]) -> None:
        tantivy = import_module("tantivy")
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("identifier", stored=True, tokenizer_name="raw")
        schema.add_text_field("text", tokenizer_name="en_stem")
        self._index = tantivy.Index(schema.build())
        writer = self._index.writer(128_000_000, 1)
        for identifier, text in documents:
            document = tantivy.Document()
            document.add_text("identifier", identifier)
            document.add_text("text", text)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, query: str, limit: int) -> list[str]:
        """Return the identifiers of the best documents that have a word of the query."""
        words = self._index.parse_query(" ".join(re.findall(r"\w+", query)), ["text"])
        hits = self._searcher.search(words, limit, count=False).hits
        return [self._searcher.doc(address)["identifier"][0] for _, address in hits]


class Desk:
    """What an engine's process is asked for.

    Args:
        engine: The search engine.
        catalogue: The file of the catalogue; empty for one in memory.
        num_products: Its size.
        index: The folder of its index; empty for one in memory.
    """

    def __init__(self, engine: Engine, catalogue: str, num_products: int, index: str) -> None:
        shops = "bm25" if engine == "tantivy" else engine
        size = 0 if catalogue else num_products
        if engine == "tantivy":
            self._backend: LocalBackend | None = None
            opened = open_catalogue(catalogue, num_products=size or None)
            self._search: Callable[[str, int], Sequence[str]] = Tantivy(documents_of(opened)).search
        else:
            self._backend = open_shop(ShopSettings(catalogue=catalogue, num_products=size, engine=shops, index=index))
            self._search = self._backend.shop.search

    def search(self, queries: list[str]) -> dict[str, Any]:
        """Search; return processor seconds and what was found."""
        began = time.process_time()
        found = [list(self._search(query, MAX_RESULTS)) for query in queries]
        return {"seconds": time.process_time() - began, "found": found}

    def hits(self, queries: list[str]) -> str:
        """Return a digest of what is found, with scores to the last bit; empty of engines that are not built in."""
        index: Any = getattr(self._search, "__self__", None)
        if self._backend is None or type(index).__name__ != "BM25Index":
            return ""
        found = [[(name, score.hex()) for name, score in index.hits(query, MAX_RESULTS)] for query in queries]
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def queries(self, number: int) -> list[str]:
        """Return instructions of the first goals."""
        assert self._backend is not None
        return [self._backend.goals[at % len(self._backend.goals)].instruction.lower() for at in range(number)]

    def steps(self, first: int, end: int) -> dict[str, Any]:
        """Play goals by the script; return processor seconds and the number of steps."""
        assert self._backend is not None
        began = time.process_time()
        steps = sum(shop_by_script(self._backend, number)[0] for number in range(first, end))
        return {"seconds": time.process_time() - began, "steps": steps}

    def texts(self, first: int, end: int) -> str:
        """Return a digest of all pages that the script reads."""
        assert self._backend is not None
        texts = hashlib.sha256()

        def read(parts: Sequence[Part]) -> None:
            texts.update(plain_text(parts).encode())

        with patch.object(scripted_shopping, "plain_text", read):
            for number in range(first, end):
                texts.update(repr(shop_by_script(self._backend, number)).encode())
        return texts.hexdigest()


def work(arguments: Sequence[str]) -> None:
    """Do what is asked for on the standard input, a line of JSON each; the first argument says of whom."""
    given = json.loads(arguments[0])
    desk = Desk(**given) if "num_products" in given else None
    for line in sys.stdin:
        name, values = json.loads(line)
        told = built(**given) if desk is None else getattr(desk, name)(*values)
        print(json.dumps(told), flush=True)


def built(engine: Engine, catalogue: str, index: str) -> dict[str, float]:
    """Write an index; return processor seconds, its size and the peak memory of this process, in MB."""
    assert engine != "tantivy"
    began = time.process_time()
    opened = open_catalogue(catalogue)
    save_index(engine, documents_of(opened), Path(index), fingerprint=opened.fingerprint)
    size = sum(path.stat().st_size for path in Path(index).rglob("*")) / 2**20
    return {"seconds": time.process_time() - began, "megabytes": size, "peak": peak_memory()}
