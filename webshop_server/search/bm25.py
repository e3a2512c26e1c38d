"""Search by BM25, scored as Lucene scores it, on NumPy arrays.

Robertson et al., "Okapi at TREC-3", with the parameters that Anserini gives to Lucene, k1 = 0.9 and b = 0.4. With N
documents, n of them with a term, which a document of length l has f times, and mean length m, the term adds

    idf * (1 - 1 / (1 + f / (k1 * (1 - b + b * l / m)))),    idf = ln(1 + (N - n + 0.5) / (n + 0.5)),

as often as it stands in the query. Lengths are rounded down to what fits into a byte, and single precision is used
where Lucene uses it, so that rankings are Lucene's; ties are broken by the identifier, as Anserini breaks them.

Suffixes of arrays: N documents, V terms, P postings (the pairs of a term and a document that has it), and C characters.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from turngym.webshop_server.search.analysis import analyze
from turngym.webshop_server.search.index_folder import check_index_folder, damaged, new_index_folder

K1, B = np.float32(0.9), np.float32(0.4)
ONE = np.float32(1)
FORM = "bm25-2"
"""Engine and version of the saved form."""
EXACT_LENGTHS = 24
"""Lengths below this are kept as they are; of others the four leading bits are."""


@dataclass(frozen=True)
class BM25Index:
    """An index over documents, immutable and safe to share between threads."""

    identifiers_N: NDArray[np.bytes_]
    """The documents' identifiers, in UTF-8."""
    ranks_N: NDArray[np.int32]
    """Their places in the order of the identifiers."""
    terms_C: NDArray[np.uint8]
    """All terms in UTF-8, in ascending order of their bytes, one after another."""
    term_ends_V: NDArray[np.int64]
    """Where each term ends."""
    posting_ends_V: NDArray[np.int64]
    """Where the postings of each term end."""
    documents_P: NDArray[np.int32]
    """Which document has the term, ascending within a term."""
    divisors_P: NDArray[np.float32]
    """1 + f / (k1 * (1 - b + b * l / m))."""
    fingerprint: str = ""
    """What the documents are; an index is only loaded for the same."""

    def __len__(self) -> int:
        return len(self.identifiers_N)

    # Searching --------------------------------------------------------------------------------------------------

    def search(self, query: str, limit: int) -> list[str]:
        """Return the identifiers of the best documents that have a term of the query, at most so many, best first."""
        return [identifier for identifier, _ in self.hits(query, limit)]

    def hits(self, query: str, limit: int) -> list[tuple[str, float]]:
        """Return identifiers and scores, best first; ties are in ascending order of the identifier."""
        found = [(self._postings(term), count) for term, count in Counter(analyze(query)).items()]
        found = [(place, count) for place, count in found if place.start < place.stop]
        if not found or limit <= 0:
            return []
        total_N = np.zeros(len(self))
        for place, count in found:
            weight = np.float32(count) * self._idf(place.stop - place.start)
            total_N[self.documents_P[place]] += weight - weight / self.divisors_P[place]
        hits_H = np.flatnonzero(total_N != 0)  # of booleans it is found faster
        scores_H = total_N[hits_H].astype(np.float32)
        if len(hits_H) > limit:
            least = np.partition(scores_H, -limit)[-limit]
            hits_H, scores_H = hits_H[scores_H >= least], scores_H[scores_H >= least]
        best = np.lexsort((self.ranks_N[hits_H], -scores_H))[:limit]
        names = self.identifiers_N[hits_H[best]]
        return [(name.decode(), score) for name, score in zip(names.tolist(), scores_H[best].tolist(), strict=True)]

    def _postings(self, term: str) -> slice:
        wanted = term.encode("utf-8", "replace")
        at = bisect_left(range(len(self.term_ends_V)), wanted, key=self._term)
        if at == len(self.term_ends_V) or self._term(at) != wanted:
            return slice(0, 0)
        return slice(int(self.posting_ends_V[at - 1]) if at else 0, int(self.posting_ends_V[at]))

    def _term(self, at: int) -> bytes:
        return self.terms_C[self.term_ends_V[at - 1] if at else 0 : self.term_ends_V[at]].tobytes()

    def _idf(self, num_with_term: int) -> np.float32:
        return np.float32(math.log(1 + (len(self) - num_with_term + 0.5) / (num_with_term + 0.5)))

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
        numbers: dict[bytes, int] = {}
        identifiers: list[bytes] = []
        lengths, terms, holders, counts = array("l"), array("i"), array("i"), array("i")
        for document, (identifier, text) in enumerate(documents):
            identifiers.append(identifier.encode())
            frequencies = Counter(analyze(text))
            lengths.append(frequencies.total())
            for term, count in frequencies.items():
                terms.append(numbers.setdefault(term.encode("utf-8", "replace"), len(numbers)))
                holders.append(document)
                counts.append(count)
        if not identifiers:
            raise ValueError("an index needs at least one document")
        if len(set(identifiers)) < len(identifiers):
            raise ValueError("identifiers of documents must be unique")
        names = sorted(numbers)
        order_V = np.argsort(np.array([numbers[name] for name in names], dtype=np.int64))
        terms_P = order_V[np.frombuffer(terms, dtype=np.int32)] if names else np.zeros(0, np.int64)
        order_P = np.argsort(terms_P, kind="stable")
        documents_P = np.frombuffer(holders, dtype=np.int32)[order_P]
        counts_P = np.frombuffer(counts, dtype=np.int32)[order_P].astype(np.float32)
        names_N = np.array(identifiers)
        return cls(
            identifiers_N=names_N,
            ranks_N=np.argsort(np.argsort(names_N)).astype(np.int32),
            terms_C=np.frombuffer(b"".join(names), dtype=np.uint8),
            term_ends_V=np.cumsum([len(name) for name in names], dtype=np.int64),
            posting_ends_V=np.cumsum(np.bincount(terms_P, minlength=len(names)), dtype=np.int64),
            documents_P=documents_P,
            divisors_P=ONE + counts_P * _inverse_norms(np.frombuffer(lengths, dtype=np.int64))[documents_P],
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


_ARRAYS = tuple(field.name for field in fields(BM25Index) if field.name != "fingerprint")


def _inverse_norms(lengths_N: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return 1 / (k1 * (1 - b + b * l / m)) for every document."""
    mean = np.float32(lengths_N.mean()) or ONE
    rounded_N = np.array([rounded_length(length) for length in lengths_N.tolist()], dtype=np.float32)
    inverse_N: NDArray[np.float32] = ONE / (K1 * ((ONE - B) + B * rounded_N / mean))
    return inverse_N


def rounded_length(length: int) -> int:
    """Return the length of a document as it can be told from the byte in which Lucene keeps it (SmallFloat)."""
    if length < EXACT_LENGTHS:
        return length
    beyond = length - EXACT_LENGTHS
    shift = max(0, beyond.bit_length() - 4)
    return EXACT_LENGTHS + (beyond >> shift << shift)
