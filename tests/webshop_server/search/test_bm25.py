"""BM25: the ranking of Lucene, ties and odd queries, and an index that is saved and found again."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.catalogue import Catalogue
from turngym.webshop_server.search.analysis import analyze
from turngym.webshop_server.search.bm25 import BM25Index
from turngym.webshop_server.search.engines import documents_of
from turngym.webshop_server.search.index_folder import SearchIndexError
from turngym.webshop_server.search.scoring import rounded_length

DOCUMENTS = [
    ("C", "Red shoes, red laces"),
    ("A", "Shoes for running"),
    ("B", "shoe for RUNNING"),
    ("D", "A lamp of brass"),
    ("E", ""),
]


@pytest.fixture(scope="module")
def index() -> BM25Index:
    return BM25Index.build(DOCUMENTS, fingerprint="five")


def test_finds_what_has_a_term_of_the_query(index: BM25Index) -> None:
    assert index.search("running shoes", 10) == ["A", "B", "C"]
    assert index.search("runs", 10) == ["A", "B"]
    assert index.search("brass lamps", 10) == ["D"]
    assert index.search("running shoes", 2) == ["A", "B"]


@pytest.mark.parametrize("query", ["", " ", "the of and", "zzz", "\ud800", "\x00", "((("])
def test_finds_nothing_where_nothing_is_asked(index: BM25Index, query: str) -> None:
    assert index.search(query, 10) == []


def test_long_queries_are_read_in_linear_time(index: BM25Index) -> None:
    for query in ("red " * 50_000, "x" * 200_000, "a." * 100_000, "_" * 200_000):
        assert index.search(query, 3) == (["C"] if query.startswith("red") else [])


def test_no_limit_finds_nothing(index: BM25Index) -> None:
    assert index.search("shoes", 0) == []


def scores_by_hand(documents: list[tuple[str, str]], query: str) -> dict[str, float]:
    """Score every document by the formula, in double precision."""
    counts = {name: Counter(analyze(text)) for name, text in documents}
    mean = sum(count.total() for count in counts.values()) / len(counts)
    scores = {}
    for name, count in counts.items():
        norm = 0.9 * (1 - 0.4 + 0.4 * rounded_length(count.total()) / mean) if mean else 1.0
        score = 0.0
        for term in analyze(query):
            having = sum(term in other for other in counts.values())
            idf = math.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
            score += idf * count[term] / (count[term] + norm)
        if score:
            scores[name] = score
    return scores


WORDS = ["red", "blue", "shoes", "shoe", "lamp", "brass", "run", "running", "12oz", "3-pack", "men's"]
queries = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)


@given(contents=st.lists(queries, min_size=1, max_size=12), query=queries, limit=st.integers(1, 15))
def test_scores_are_those_of_the_formula(contents: list[str], query: str, limit: int) -> None:
    documents = [(f"P{number * 7 % 13:02}", text) for number, text in enumerate(contents)]
    expected = scores_by_hand(documents, query)
    hits = BM25Index.build(documents).hits(query, limit)
    assert len(hits) == min(limit, len(expected))
    assert [score for _, score in hits] == pytest.approx(sorted(expected.values(), reverse=True)[:limit], abs=2e-4)
    assert all(score == pytest.approx(expected[name], abs=2e-4) for name, score in hits)
    assert hits == sorted(hits, key=lambda hit: (-hit[1], hit[0]))


@pytest.mark.parametrize(
    ("length", "kept"),
    [(0, 0), (23, 23), (24, 24), (39, 39), (40, 40), (41, 40), (42, 42), (56, 56), (57, 56), (60, 60), (1000, 984)],
)
def test_lengths_are_kept_in_a_byte(length: int, kept: int) -> None:
    assert rounded_length(length) == kept


def test_there_are_256_lengths() -> None:
    kept = {rounded_length(length) for length in (*range(200), *(int(1.01**power) for power in range(500, 2158)))}
    assert len(kept) == 256 and max(kept) < 2**31
    assert all(rounded_length(length) == length for length in kept)


def test_refuses_documents_that_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="must be unique"):
        BM25Index.build([("A", "x"), ("A", "y")])
    with pytest.raises(ValueError, match="at least one document"):
        BM25Index.build([])


def test_documents_without_a_term(tmp_path: Path) -> None:
    index = BM25Index.build([("A", ""), ("B", "the")])
    assert index.search("the shoes", 5) == []
    index.save(tmp_path / "index")
    assert BM25Index.load(tmp_path / "index").search("shoes", 5) == []


def test_a_saved_index_is_the_same(index: BM25Index, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    index.save(tmp_path / "index")  # in its own place
    loaded = BM25Index.load(tmp_path / "index", fingerprint="five")
    assert loaded.hits("red running shoes", 10) == index.hits("red running shoes", 10)
    assert isinstance(loaded.documents_P.base, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_index_over_others_is_refused(index: BM25Index, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    with pytest.raises(SearchIndexError, match="over another catalogue; make it anew"):
        BM25Index.load(tmp_path / "index", fingerprint="six")
    header = tmp_path / "index" / "index.json"
    header.write_text(json.dumps(json.loads(header.read_text()) | {"form": "bm25-0"}))
    with pytest.raises(SearchIndexError, match="another version or engine; make it anew"):
        BM25Index.load(tmp_path / "index")


@pytest.mark.parametrize("damage", ["index.json", "terms_C.npy", "documents_P.npy"])
def test_a_damaged_index_is_refused(index: BM25Index, tmp_path: Path, damage: str) -> None:
    with pytest.raises(SearchIndexError, match="holds no index"):
        BM25Index.load(tmp_path)
    index.save(tmp_path / "index")
    (tmp_path / "index" / damage).write_bytes(b"{")
    with pytest.raises(SearchIndexError, match="make it anew"):
        BM25Index.load(tmp_path / "index")


def test_one_flipped_bit_is_found_wherever_it_is(index: BM25Index, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    files = sorted((tmp_path / "index").iterdir())
    assert len(files) == 10
    for file in files:
        content = bytearray(file.read_bytes())
        for place in range(0, 8 * len(content), max(1, len(content) // 40)):
            content[place // 8] ^= 1 << place % 8
            file.write_bytes(content)
            with pytest.raises(SearchIndexError, match="make it anew"):
                BM25Index.load(tmp_path / "index", fingerprint="five")
            content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
    assert len(BM25Index.load(tmp_path / "index", fingerprint="five")) == len(index)


def test_what_is_no_index_is_not_overwritten(index: BM25Index, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("all of it")
    with pytest.raises(SearchIndexError, match="is no index; name another folder"):
        index.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "all of it"


def test_ranks_as_lucene_does(original_catalogue: Catalogue, recorded: Callable[[str], Any]) -> None:
    index = BM25Index.build(documents_of(original_catalogue))
    queries = recorded("golden/search.jsonl")
    assert len(queries) == 750
    same = 0
    for query in queries:
        hits = index.hits(query["query"].lower(), query["k"])
        same += [asin for asin, _ in hits] == [asin for asin, _ in query["hits"]]
        assert [score for _, score in hits] == pytest.approx([score for _, score in query["hits"]], abs=1e-4)
    assert same == 750
