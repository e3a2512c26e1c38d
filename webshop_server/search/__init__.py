"""Search engines over the texts of a catalogue: the built-in BM25, and Lucene."""

from turngym.webshop_server.search.analysis import analyze
from turngym.webshop_server.search.bm25 import BM25Index
from turngym.webshop_server.search.engines import SearchIndex, documents_of, open_index, save_index
from turngym.webshop_server.search.index_folder import SearchIndexError
from turngym.webshop_server.search.lucene import LuceneIndex, LuceneNotInstalledError

__all__ = [
    "BM25Index",
    "LuceneIndex",
    "LuceneNotInstalledError",
    "SearchIndex",
    "SearchIndexError",
    "analyze",
    "documents_of",
    "open_index",
    "save_index",
]
