"""MaxScore finds what scoring every document finds: the same documents, scores and ties, to the last bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.webshop_server.catalogue import Catalogue, generate_catalogue
from turngym.webshop_server.search import max_score
from turngym.webshop_server.search.analysis import analyze
from turngym.webshop_server.search.bm25 import BM25Index
from turngym.webshop_server.search.engines import documents_of
from turngym.webshop_server.search.scoring import contributions, divisors

WORDS = [f"w{number}" for number in range(40)]


def exhaustive_hits(index: BM25Index, query: str, limit: int) -> list[tuple[str, float]]:
    """Score every document that has a term, one term of the query after another, and sort them."""
    total_N = np.zeros(len(index))
    for word, count in Counter(analyze(query)).items():
        term = index._term(word)
        if term is not None:
            divisors_P = divisors(term.frequencies_P, index.inverse_norms_N[term.documents_P])
            total_N[term.documents_P] += contributions(np.float32(count) * np.float32(term.idf), divisors_P)
    hits_H = np.flatnonzero(total_N)
    scores_H = total_N[hits_H].astype(np.float32)
    best = np.lexsort((index.ranks_N[hits_H], -scores_H))[:limit]
    return [(index.identifiers_N[hits_H[at]].decode(), float(scores_H[at])) for at in best]


def random_index(num_documents: int, seed: int, *, copies: int = 1) -> BM25Index:
    """Return an index over documents of words of very different frequency; copies of a document tie."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, len(WORDS) + 1) ** rng.uniform(0, 2)
    texts = [" ".join(rng.choice(WORDS, rng.integers(0, 30), p=shares / shares.sum())) for _ in range(num_documents)]
    names = rng.permutation(num_documents * copies).tolist()
    return BM25Index.build((f"D{name:05}", texts[at % num_documents]) for at, name in enumerate(names))


INDEXES = [random_index(1, 0), random_index(3, 1), random_index(300, 2), random_index(60, 3, copies=5)]


@settings(max_examples=300)
@given(
    which=st.integers(0, len(INDEXES) - 1),
    query=st.lists(st.sampled_from([*WORDS, "absent"]), max_size=60).map(" ".join),
    limit=st.integers(1, 400),
    batch=st.sampled_from([1, 20, 100, 1_000, 100_000]),
    few=st.sampled_from([0, 5, 300]),
    common=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_finds_what_scoring_everything_finds(
    which: int, query: str, limit: int, batch: int, few: int, common: float
) -> None:
    index = INDEXES[which]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(max_score, "BATCH_POSTINGS", batch)
        patch.setattr(max_score, "FEW_DOCUMENTS", few)
        patch.setattr(max_score, "COMMON", common)
        for most in (limit, min(limit, 5)):
            assert index.hits(query, most) == exhaustive_hits(index, query, most)
    assert not any(total_N.any() for total_N in index._totals)


def test_not_every_posting_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [(f"{number:04}", "common words and more " + ("rare" if number % 50 == 0 else "")) for number in
                 range(2_000)]  # fmt: skip
    index = BM25Index.build(documents)
    monkeypatch.setattr(max_score, "BATCH_POSTINGS", 50)
    added: list[int] = []
    add = max_score.MaxScore._add

    def count(search: max_score.MaxScore, end: int) -> None:
        add(search, end)
        added.append(len(search._touched_P))

    monkeypatch.setattr(max_score.MaxScore, "_add", count)
    assert index.hits("common words rare", 10) == exhaustive_hits(index, "common words rare", 10)
    assert added == [40]


def test_sums_that_could_be_rounded_are_added_in_the_order_of_the_query() -> None:
    rng = np.random.default_rng(0)
    words, shares = ["rare", "seldom", "other"], [0.02, 0.2, 0.78]
    texts = (" ".join(["every", *rng.choice(words, rng.integers(0, 4), p=shares)]) for _ in range(800))
    index = BM25Index.build((f"{number:04}", text) for number, text in enumerate(texts))
    for query in ("every seldom " + "rare " * 120_000, "rare " * 120_000 + "seldom every other"):
        search = max_score.MaxScore(
            [(term, count) for word, count in Counter(analyze(query)).items() if (term := index._term(word))],
            20,
            inverse_norms_N=index.inverse_norms_N,
            table_of=lambda term: index._table(term.number),
            total_N=np.zeros(len(index)),
        )
        assert search._batch_postings == float("inf")
        assert index.hits(query, 20) == exhaustive_hits(index, query, 20)


def test_finds_what_scoring_everything_finds_for_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue: Catalogue = generate_catalogue(600)
    index = BM25Index.build(documents_of(catalogue))
    wishes = [product.synthetic.text for product in catalogue.values() if product.synthetic]
    monkeypatch.setattr(max_score, "BATCH_POSTINGS", 200)
    for wish in wishes:
        query = f"{wish} with color: red, and size: small, and price lower than 30.00 dollars".lower()
        assert index.hits(query, 50) == exhaustive_hits(index, query, 50)
    assert len(wishes) > 100


def test_finds_what_scoring_everything_finds_for_recorded_queries(
    original_catalogue: Catalogue, recorded: Callable[[str], Any]
) -> None:
    index = BM25Index.build(documents_of(original_catalogue))
    queries = [record["query"].lower() for record in recorded("golden/search.jsonl")]
    assert len(queries) == 750
    for batch in (100, max_score.BATCH_POSTINGS):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(max_score, "BATCH_POSTINGS", batch)
            assert all(index.hits(query, 50) == exhaustive_hits(index, query, 50) for query in queries)
