"""The best documents for a query without scoring all that have a term of it: MaxScore.

Turtle and Flood, "Query evaluation: strategies and optimizations", Information Processing & Management 31(6), 1995.

The postings of terms are added up from the rarest term on. The *threshold* is a score that as many documents reach as
are asked for. Once the remaining terms add less than that, even together, no document can be among the best that has
only them; they are then looked up for the documents that still can.

Scores are those of adding everything in the order of the query, to the last bit. What a term adds has single precision
and the sums have double, so that no sum is rounded and the order cannot matter unless the terms' weights are extremely
unlike; then everything is added in that order.

Suffixes of arrays as in `bm25`, and T for the terms of a query and H for documents that may be among the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from turngym.webshop_server.search.scoring import Frequencies, contributions, divisors

BATCH_POSTINGS, BATCH_SHARE = 12_000, 1 / 24
"""How many postings are added before it is asked whether more are needed: so many, or this share of the documents."""
FEW_DOCUMENTS = 300
"""For so many documents all remaining terms are looked up at once."""
TRIED = 2
"""For how many documents, in multiples of those asked for, all terms are looked up to learn of the threshold."""
COMMON = 1 / 32
"""A term in a larger share of the documents is looked up in a table of all documents."""
ROUNDING = 1 - 2.0**-22
"""Scores that differ by a larger factor differ in single precision too."""
SPARE_BITS = 53 - 24
"""By how many bits double precision exceeds single precision."""


@dataclass(frozen=True, slots=True)
class Term:
    """A term of an index."""

    number: int
    """Its place among the terms."""
    documents_P: NDArray[np.int32]
    """Its documents, ascending."""
    frequencies_P: Frequencies
    idf: float
    """In single precision."""
    greatest_divisor: float
    """The greatest of its divisors, see `scoring.divisors`."""


class MaxScore:
    """One search.

    Args:
        asked: The terms of the query in their order, each of them once, and how often it stands there; at least one.
        limit: How many documents are asked for, at least 1.
        inverse_norms_N: See `scoring.inverse_norms`.
        table_of: Gives how often every document has a term; it is asked for common terms alone.
        total_N: Zeros in double precision, to add up scores in; after the search they are zeros again.
    """

    def __init__(
        self,
        asked: Sequence[tuple[Term, int]],
        limit: int,
        *,
        inverse_norms_N: NDArray[np.float32],
        table_of: Callable[[Term], Frequencies],
        total_N: NDArray[np.float64],
    ) -> None:
        self._limit = limit
        self._inverse_norms_N, self._table_of, self._total_N = inverse_norms_N, table_of, total_N
        self._batch_postings = max(BATCH_POSTINGS, BATCH_SHARE * len(total_N))
        if not self._take(sorted(asked, key=_rarity)):
            self._take(asked)
            self._batch_postings = math.inf
        self._threshold = 0.0
        self._num_added = 0
        """Terms whose postings have been added."""
        self._touched_P = np.zeros(0, np.intp)
        """The documents of these postings."""
        self._totals_P = np.zeros(0)
        """The totals of these documents."""

    def _take(self, asked: Sequence[tuple[Term, int]]) -> bool:
        """Take the terms in an order; return whether no sum of what they add is rounded, whatever the order.

        A term with weight w and greatest divisor d adds multiples of the last bit that w / d has in single precision,
        which is at least w / d / 2^24. Sums of such multiples are exact in double precision up to 2^53 of them.
        """
        self._terms = [term for term, _ in asked]
        self._weights_T = np.array([count for _, count in asked], dtype=np.float32)
        self._weights_T *= np.array([term.idf for term in self._terms], dtype=np.float32)
        """The idf of each term as often as it stands in the query."""
        self._sizes_T = np.array([len(term.documents_P) for term in self._terms])
        quotients_T = self._weights_T / np.array([term.greatest_divisor for term in self._terms], dtype=np.float32)
        bounds_T = (self._weights_T - quotients_T).tolist()
        self._rest = list(accumulate(reversed(bounds_T), initial=0.0))[::-1]
        """The most that the terms from each on can add together; 0 behind the last."""
        return bool(self._rest[0] <= float(quotients_T.min()) * 2.0**SPARE_BITS)

    def best(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return documents and their scores, all above 0: the best that are asked for, and what ties with the last."""
        while self._num_added < (needed := self._num_needed()):
            self._add(self._end_of_batch(needed))
            if self._num_added < len(self._terms) or len(self._touched_P) > BATCH_POSTINGS:
                self._raise_threshold()
        documents_H, totals_H = self._looked_up(*self._candidates())
        scores_H = totals_H.astype(np.float32)
        found_H = scores_H > 0  # a term that adds less than the last bit is not found
        if len(scores_H) > self._limit:
            found_H &= scores_H >= _least_of_best(scores_H, self._limit)
        return documents_H[found_H], scores_H[found_H]

    # Adding postings --------------------------------------------------------------------------------------------

    def _num_needed(self) -> int:
        """Return how many terms, from the first on, have to be added for all that is known."""
        num_terms = len(self._terms)
        return next((at for at in range(self._num_added, num_terms) if self._rest[at] < self._threshold), num_terms)

    def _end_of_batch(self, needed: int) -> int:
        """Return up to which term to add before the threshold is looked at again."""
        sizes = self._sizes_T.tolist()
        end, postings = self._num_added + 1, sizes[self._num_added]
        while end < needed and (postings := postings + sizes[end]) <= self._batch_postings:
            end += 1
        return end

    def _add(self, end: int) -> None:
        """Add the postings of the next terms."""
        batch = slice(self._num_added, end)
        terms = self._terms[batch]
        places_P = np.concatenate([term.documents_P for term in terms]).astype(np.intp)
        frequencies_P = np.concatenate([term.frequencies_P for term in terms])
        weights_P = self._weights_T[batch].repeat(self._sizes_T[batch])
        added_P = contributions(weights_P, divisors(frequencies_P, self._inverse_norms_N.take(places_P)))
        np.add.at(self._total_N, places_P, added_P.astype(np.float64))  # one after another
        self._touched_P = np.concatenate([self._touched_P, places_P]) if self._num_added else places_P
        self._totals_P = self._total_N.take(self._touched_P)
        self._num_added = end

    def _raise_threshold(self) -> None:
        """Take as the threshold, if it is higher, the least of the best scores that some promising documents have."""
        num_best = TRIED * self._limit * self._num_added  # a document is touched once for every term at most
        best_P = (self._totals_P >= _least_of_best(self._totals_P, num_best)).nonzero()[0][:num_best]
        documents_H = _distinct(self._touched_P.take(best_P))
        if len(documents_H) >= self._limit:
            totals_H = self._total_N.take(documents_H)
            if self._num_added < len(self._terms):
                totals_H += self._look_up(len(self._terms), documents_H)
            self._threshold = max(self._threshold, float(_least_of_best(totals_H, self._limit)) * ROUNDING)

    # Looking up -------------------------------------------------------------------------------------------------

    def _candidates(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return touched documents that may be among the best, ascending, and their totals; set all totals to 0."""
        may_be_best_P = self._totals_P >= self._threshold - self._rest[self._num_added]
        documents_H = _distinct(self._touched_P[may_be_best_P])
        totals_H = self._total_N.take(documents_H)
        self._total_N[self._touched_P] = 0
        return documents_H, totals_H

    def _looked_up(
        self, documents_H: NDArray[np.int32], totals_H: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return those of the candidates that may be among the best when all terms are counted, with their totals."""
        while self._num_added < len(self._terms):
            end = len(self._terms) if len(documents_H) <= FEW_DOCUMENTS else self._num_added + 1
            totals_H += self._look_up(end, documents_H)
            self._num_added = end
            remains_H = (totals_H >= self._threshold - self._rest[self._num_added]).nonzero()[0]
            documents_H, totals_H = documents_H.take(remains_H), totals_H.take(remains_H)
        return documents_H, totals_H

    def _look_up(self, end: int, documents_H: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return what the next terms add together to each of some documents, which ascend."""
        which = slice(self._num_added, end)
        frequencies_TH = np.array([self._frequencies(term, documents_H) for term in self._terms[which]])
        divisors_TH = divisors(frequencies_TH, self._inverse_norms_N.take(documents_H))
        added_TH = contributions(self._weights_T[which, None], divisors_TH)  # 0 where the frequency is 0
        added_H: NDArray[np.float64] = added_TH.sum(axis=0, dtype=np.float64)
        return added_H

    def _frequencies(self, term: Term, documents_H: NDArray[np.int32]) -> Frequencies:
        """Return how often each of some documents has a term."""
        if len(term.documents_P) > COMMON * len(self._total_N):
            return self._table_of(term).take(documents_H)
        places_H = term.documents_P.searchsorted(documents_H)
        frequencies_H = term.frequencies_P.take(places_H, mode="clip")  # one beyond the last has another document
        frequencies_H *= term.documents_P.take(places_H, mode="clip") == documents_H
        return frequencies_H


def _rarity(asked: tuple[Term, int]) -> int:
    return len(asked[0].documents_P)


def _least_of_best(scores: NDArray[np.floating], number: int) -> np.floating:
    """Return the least of so many best scores, or of all; there is at least one."""
    least: np.floating = scores.min() if len(scores) <= number else np.partition(scores, -number)[-number]
    return least


def _distinct(documents: NDArray[np.intp]) -> NDArray[np.int32]:
    """Return numbers ascending and each once; faster than `np.unique` where they are few."""
    ascending = documents.astype(np.int32)
    ascending.sort()
    is_first = np.ones(len(ascending), dtype=bool)
    np.not_equal(ascending[1:], ascending[:-1], out=is_first[1:])
    return ascending[is_first]
