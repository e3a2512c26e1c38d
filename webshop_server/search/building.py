"""The postings of an index, made in runs of documents and merged, so that little more memory is needed than for them.

Suffixes of arrays are those of `bm25`, and R for the terms of a run.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from turngym.webshop_server.search.analysis import analyze
from turngym.webshop_server.search.scoring import Frequencies, divisors

RUN_POSTINGS = 1 << 21
"""A run ends with the document with which it has so many postings."""


@dataclass(frozen=True, slots=True)
class Run:
    """The postings of successive documents, sorted by their terms."""

    terms_R: NDArray[np.int32]
    """The terms by the numbers that they came with."""
    sizes_R: NDArray[np.int64]
    """How many postings each has."""
    documents_P: NDArray[np.int32]
    frequencies_P: Frequencies


@dataclass(frozen=True, slots=True)
class Postings:
    """The postings of all documents, sorted by the names of their terms."""

    names: list[bytes]
    """The terms in UTF-8, in ascending order."""
    posting_ends_V: NDArray[np.int64]
    greatest_divisors_V: NDArray[np.float32]
    documents_P: NDArray[np.int32]
    frequencies_P: Frequencies


class Runs:
    """Documents that are read once, as runs.

    Args:
        documents: Pairs of an identifier and a text.
        run_postings: When a run ends.
    """

    def __init__(self, documents: Iterable[tuple[str, str]], run_postings: int = RUN_POSTINGS) -> None:
        self.identifiers: list[bytes] = []
        self.lengths = array("q")
        """How many terms each document has, repetitions counted."""
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self._runs = deque(self._read(documents, run_postings))

    def _read(self, documents: Iterable[tuple[str, str]], run_postings: int) -> Iterator[Run]:
        terms, frequencies, widths = array("i"), array("i"), array("i")
        for identifier, text in documents:
            found = Counter(analyze(text))
            self.identifiers.append(identifier.encode())
            self.lengths.append(found.total())
            terms.extend(map(self._numbers.__getitem__, found))
            frequencies.extend(found.values())
            widths.append(len(found))
            if len(terms) >= run_postings:
                yield _run(terms, frequencies, widths, len(self.identifiers))
                terms, frequencies, widths = array("i"), array("i"), array("i")
        yield _run(terms, frequencies, widths, len(self.identifiers))

    def merge(self, inverse_norms_N: NDArray[np.float32]) -> Postings:
        """Return the postings; the runs are let go of one by one, so that this can be done once."""
        named = sorted((term.encode("utf-8", "replace"), number) for term, number in self._numbers.items())
        numbers_V = np.array([number for _, number in named], dtype=np.int64)
        sizes_V = np.zeros(len(named), np.int64)
        for run in self._runs:
            sizes_V[run.terms_R] += run.sizes_R
        ends_V = np.cumsum(sizes_V[numbers_V])
        free_V = np.empty(len(named), np.int64)  # the next free place of each term, by its number
        free_V[numbers_V] = ends_V - sizes_V[numbers_V]
        greatest_V = np.zeros(len(named), np.float32)
        documents_P = np.empty(sizes_V.sum(), np.int32)
        frequencies_P = np.empty(sizes_V.sum(), np.result_type(*(run.frequencies_P for run in self._runs)))
        while self._runs:
            run = self._runs.popleft()
            firsts_R = np.cumsum(run.sizes_R) - run.sizes_R
            places_P = np.repeat(free_V[run.terms_R] - firsts_R, run.sizes_R) + np.arange(len(run.documents_P))
            documents_P[places_P], frequencies_P[places_P] = run.documents_P, run.frequencies_P
            free_V[run.terms_R] += run.sizes_R
            if len(firsts_R):
                divisors_P = divisors(run.frequencies_P, inverse_norms_N[run.documents_P])
                greatest_R = np.maximum.reduceat(divisors_P, firsts_R)
                greatest_V[run.terms_R] = np.maximum(greatest_V[run.terms_R], greatest_R)
        return Postings([name for name, _ in named], ends_V, greatest_V[numbers_V], documents_P, frequencies_P)


def _run(terms: array[int], frequencies: array[int], widths: array[int], end: int) -> Run:
    """Return a run.

    Args:
        terms: The term of each posting, document after document.
        frequencies: How often the document has it.
        widths: How many postings each document has.
        end: The number of the document after the last one.
    """
    terms_P, frequencies_P = np.frombuffer(terms, np.int32), np.frombuffer(frequencies, np.int32)
    holders_P = np.repeat(np.arange(end - len(widths), end, dtype=np.int32), np.frombuffer(widths, np.int32))
    order_P = np.argsort(terms_P, kind="stable")
    terms_R, sizes_R = np.unique(terms_P, return_counts=True)
    smallest = np.min_scalar_type(frequencies_P.max(initial=0))
    return Run(terms_R, sizes_R, holders_P[order_P], frequencies_P[order_P].astype(smallest))
