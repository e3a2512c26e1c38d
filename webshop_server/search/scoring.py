"""What a term adds to the score of a document, in the single precision of Lucene."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

K1, B = np.float32(0.9), np.float32(0.4)
ONE = np.float32(1)
EXACT_LENGTHS = 24
"""Lengths below this are kept as they are; of others the four leading bits are."""

Frequencies = NDArray[np.unsignedinteger]
"""How often documents have a term, in as few bytes as the largest number needs."""


def idf(num_documents: int, num_with_term: int) -> np.float32:
    """Return ln(1 + (N - n + 0.5) / (n + 0.5))."""
    return np.float32(math.log(1 + (num_documents - num_with_term + 0.5) / (num_with_term + 0.5)))


def inverse_norms(lengths_N: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return 1 / (k1 * (1 - b + b * l / m)) for documents of these lengths."""
    mean = np.float32(lengths_N.mean()) or ONE
    different, places_N = np.unique(lengths_N, return_inverse=True)
    rounded_N = np.array([rounded_length(length) for length in different.tolist()], dtype=np.float32)[places_N]
    inverse_N: NDArray[np.float32] = ONE / (K1 * ((ONE - B) + B * rounded_N / mean))
    return inverse_N


def divisors(frequencies_P: Frequencies, inverse_norms_P: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 + f / (k1 * (1 - b + b * l / m)); the arrays are broadcast."""
    divisors_P: NDArray[np.float32] = frequencies_P.astype(np.float32)
    divisors_P *= inverse_norms_P
    divisors_P += ONE
    return divisors_P


def contributions(weights_P: NDArray[np.float32] | np.float32, divisors_P: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weight of the term times 1 - 1 / divisor; the arrays are broadcast."""
    added_P = weights_P / divisors_P
    np.subtract(weights_P, added_P, out=added_P)
    return added_P


def rounded_length(length: int) -> int:
    """Return the length of a document as it can be told from the byte in which Lucene keeps it (SmallFloat)."""
    if length < EXACT_LENGTHS:
        return length
    beyond = length - EXACT_LENGTHS
    shift = max(0, beyond.bit_length() - 4)
    return EXACT_LENGTHS + (beyond >> shift << shift)
