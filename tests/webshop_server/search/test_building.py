"""Postings that are sorted in runs and merged: the same index, however many runs there are."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.search.building import Runs
from turngym.webshop_server.search.scoring import divisors, inverse_norms

WORDS = ["red", "blue", "shoes", "lamp", "brass", "größe", "𝔸", "12oz"]
texts = st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join)


@given(contents=st.lists(texts, min_size=1, max_size=20), run_postings=st.integers(1, 30))
def test_runs_merge_to_the_same_postings(contents: list[str], run_postings: int) -> None:
    documents = [(f"{number}", text) for number, text in enumerate(contents)]
    whole, parts = Runs(documents), Runs(documents, run_postings)
    assert parts.identifiers == whole.identifiers and parts.lengths == whole.lengths
    norms_N = inverse_norms(np.frombuffer(whole.lengths, np.int64))
    expected, merged = whole.merge(norms_N), parts.merge(norms_N)
    assert merged.names == expected.names == sorted(set(expected.names))
    for name in ("posting_ends_V", "greatest_divisors_V", "documents_P", "frequencies_P"):
        array_of = getattr(merged, name)
        assert array_of.dtype == getattr(expected, name).dtype
        assert array_of.tolist() == getattr(expected, name).tolist()
    starts = [0, *expected.posting_ends_V.tolist()]
    for at, greatest in enumerate(expected.greatest_divisors_V):
        holders_P = expected.documents_P[starts[at] : starts[at + 1]]
        assert (np.diff(holders_P) > 0).all()
        assert divisors(expected.frequencies_P[starts[at] : starts[at + 1]], norms_N[holders_P]).max() == greatest


@pytest.mark.parametrize(("often", "kind"), [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_frequencies_have_the_bytes_that_the_largest_needs(often: int, kind: type) -> None:
    runs = Runs([("A", "lamp"), ("B", "lamp " * often), ("C", "brass")], run_postings=1)
    assert runs.lengths == array("q", [1, often, 1])
    postings = runs.merge(inverse_norms(np.frombuffer(runs.lengths, np.int64)))
    assert postings.names == [b"brass", b"lamp"] and postings.documents_P.tolist() == [2, 0, 1]
    assert postings.frequencies_P.dtype == kind and postings.frequencies_P.tolist() == [1, 1, often]
