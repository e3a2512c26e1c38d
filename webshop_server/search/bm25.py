"""Search by BM25, scored as Lucene scores it, on NumPy arrays.

Robertson et al., "Okapi at TREC-3", with the parameters that Anserini gives to Lucene, k1 = 0.9 and b = 0.4. With N
documents, n of them with a term, which a document of length l has f times, and mean length m, the term adds

    idf * (1 - 1 / (1 + f / (k1 * (1 - b + b * l / m)))),    idf = ln(1 + (N - n + 0.5) / (n + 0.5)),

as often as it stands in the query. Lengths are rounded down to what fits into a byte, and single precision is used
where Lucene uses it, so that rankings are Lucene's; ties are broken by the identifier, as Anserini breaks them.

Suffixes of arrays: N documents, V terms, P postings (the pairs of a term and a document that has it), and C characters.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from turngym.webshop_server.search.analysis import analyze
from turngym.webshop_server.search.building import Runs
from turngym.webshop_server.search.index_folder import check_index_folder, damaged, new_index_folder
from turngym.webshop_server.search.max_score import MaxScore, Term
from turngym.webshop_server.search.scoring import Frequencies, idf, inverse_norms

FORM = "bm25-3"
"""Engine and version of the saved form."""
CACHED_TERMS = 1 << 14
"""How many words of queries are remembered with what they are in the index."""
CACHED_TABLES = 128
"""How many tables of common terms are kept, each of a byte for every document."""


@dataclass(frozen=True)
class BM25Index:
    """An index over documents, immutable and safe to share between threads."""

    identifiers_N: NDArray[np.bytes_]
    """The documents' identifiers, in UTF-8."""
    ranks_N: NDArray[np.int32]
    """Their places in the order of the identifiers."""
    inverse_norms_N: NDArray[np.float32]
    """1 / (k1 * (1 - b + b * l / m))."""
    terms_C: NDArray[np.uint8]
    """All terms in UTF-8, in ascending order of their bytes, one after another."""
    term_ends_V: NDArray[np.int64]
    """Where each term ends."""
    posting_ends_V: NDArray[np.int64]
    """Where the postings of each term end."""
    greatest_divisors_V: NDArray[np.float32]
    """The greatest 1 + f / (k1 * (1 - b + b * l / m)) of each term."""
    documents_P: NDArray[np.int32]
    """Which document has the term, ascending within a term."""
    frequencies_P: Frequencies
    """How often the document has the term."""
    fingerprint: str = ""
    """What the documents are; an index is only loaded for the same."""
    _totals: list[NDArray[np.float64]] = field(default_factory=list, init=False, repr=False, compare=False)
    """Zeros of one number for each document, one array for every search that ran at the same time as others."""

    _term: Callable[[str], Term | None] = field(init=False, repr=False, compare=False)
    """What a word of a query is in the index."""
    _table: Callable[[int], Frequencies] = field(init=False, repr=False, compare=False)
    """How often every document has a term, by the number of the term."""

    def __post_init__(self) -> None:
        """Remember what was looked up."""
        object.__setattr__(self, "_term", lru_cache(maxsize=CACHED_TERMS)(self._look_up))
        object.__setattr__(self, "_table", lru_cache(maxsize=CACHED_TABLES)(self._spread_out))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in (*_ARRAYS, "fingerprint"))

    def __len__(self) -> int:
        return len(self.identifiers_N)

    # Searching --------------------------------------------------------------------------------------------------

    def search(self, query: str, limit: int) -> list[str]:
        """Return the identifiers of the best documents that have a term of the query, at most so many, best first."""
        return self._best(query, limit)[0]

    def hits(self, query: str, limit: int) -> list[tuple[str, float]]:
        """Return identifiers and scores, best first; ties are in ascending order of the identifier."""
        return list(zip(*self._best(query, limit), strict=True))

    def _best(self, query: str, limit: int) -> tuple[list[str], list[float]]:
        words = Counter(analyze(query)).items()
        asked = [(term, count) for word, count in words if (term := self._term(word)) is not None]
        if not asked or limit <= 0:
            return [], []
        try:
            total_N = self._totals.pop()
        except IndexError:  # all others are in use
            total_N = np.zeros(len(self))
        documents_H, scores_H = MaxScore(
            asked,
            limit,
            inverse_norms_N=self.inverse_norms_N,
            table_of=lambda term: self._table(term.number),
            total_N=total_N,
        ).best()
        self._totals.append(total_N)  # not after an exception, when it may not be zeros
        best = np.lexsort((self.ranks_N[documents_H], -scores_H))[:limit]
        return list(map(bytes.decode, self.identifiers_N[documents_H[best]].tolist())), scores_H[best].tolist()

    def _look_up(self, word: str) -> Term | None:
        """Return a term of the index, if a word is one."""
        wanted = word.encode("utf-8", "replace")
        at = bisect_left(range(len(self.term_ends_V)), wanted, key=self._name)
        if at == len(self.term_ends_V) or self._name(at) != wanted:
            return None
        first, end = int(self.posting_ends_V[at - 1]) if at else 0, int(self.posting_ends_V[at])
        return Term(
            at,
            self.documents_P[first:end],
            self.frequencies_P[first:end],
            float(idf(len(self), end - first)),
            float(self.greatest_divisors_V[at]),
        )

    def _spread_out(self, number: int) -> Frequencies:
        """Return how often every document has a term."""
        postings = slice(int(self.posting_ends_V[number - 1]) if number else 0, int(self.posting_ends_V[number]))
        table_N = np.zeros(len(self), self.frequencies_P.dtype)
        table_N[self.documents_P[postings]] = self.frequencies_P[postings]
        return table_N

    def _name(self, at: int) -> bytes:
        return self.terms_C[self.term_ends_V[at - 1] if at else 0 : self.term_ends_V[at]].tobytes()

    # Building ---------------------------------------------------------------------------------------------------

    @classmethod
    def build(cls, documents: Iterable[tuple[str, str]], *, fingerprint: str = "") -> Self:
        """Return an index over documents.

        Args:
            documents: Pairs of an identifier, each unique, and a text.
            fingerprint: What they are, for `load`.

        Raises:
            ValueError: There is no document, or an identifier comes twice.
        """
        runs = Runs(documents)
        if not runs.identifiers:
            raise ValueError("an index needs at least one document")
        names_N = np.array(runs.identifiers)
        order_N = np.argsort(names_N)
        if (names_N[order_N[1:]] == names_N[order_N[:-1]]).any():
            raise ValueError("identifiers of documents must be unique")
        ranks_N = np.empty(len(names_N), np.int32)
        ranks_N[order_N] = np.arange(len(names_N))
        inverse_norms_N = inverse_norms(np.frombuffer(runs.lengths, np.int64))
        postings = runs.merge(inverse_norms_N)
        return cls(
            identifiers_N=names_N,
            ranks_N=ranks_N,
            inverse_norms_N=inverse_norms_N,
            terms_C=np.frombuffer(b"".join(postings.names), dtype=np.uint8),
            term_ends_V=np.cumsum([len(name) for name in postings.names], dtype=np.int64),
            posting_ends_V=postings.posting_ends_V,
            greatest_divisors_V=postings.greatest_divisors_V,
            documents_P=postings.documents_P,
            frequencies_P=postings.frequencies_P,
            fingerprint=fingerprint,
        )

    # Saving -----------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the index, in the place of one that may be there; it appears under its name when it is complete.

        Raises:
            OSError: The folder cannot be written.
            SearchIndexError: Something else is there.
        """
        with new_index_folder(folder, form=FORM, fingerprint=self.fingerprint) as unfinished:
            for name in _ARRAYS:
                np.save(unfinished / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, *, fingerprint: str | None = None) -> Self:
        """Return a saved index; its arrays are read from the disk as they are needed.

        Args:
            folder: Where it was saved.
            fingerprint: What the documents must be; None for any.

        Raises:
            SearchIndexError: There is no index, it is damaged, or it is one over other documents.
        """
        documents = check_index_folder(folder, form=FORM, fingerprint=fingerprint)
        try:
            mapped = [np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS]
        except (OSError, ValueError, EOFError) as error:
            raise damaged(folder) from error
        plain = map(np.asarray, mapped)  # slices of a plain array are made faster
        return cls(**dict(zip(_ARRAYS, plain, strict=True)), fingerprint=documents)


_ARRAYS = tuple(field.name for field in fields(BM25Index) if field.init and field.name != "fingerprint")
