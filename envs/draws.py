"""Small random numbers one at a time, the same that NumPy draws, for a fraction of what its calls cost.

Drawing an instance takes dozens of small numbers, and a call of `numpy.random.Generator` takes longer to prepare than
to draw. `Draws` takes the words of the bit generator in blocks and turns them into numbers as NumPy's generator does:

* a share in [0, 1) is the upper 53 bits of a word;
* a whole number is drawn from half a word by multiplication and rejection (Lemire, arXiv:1805.10941), and the other
  half is kept for the next;
* two of several are drawn by Floyd's method (Bentley, Programming Pearls, CACM 30(9), 1987) and shuffled.
"""

from __future__ import annotations

import math

import numpy as np

FIRST_BLOCK, LARGEST_BLOCK = 64, 1_024
"""How many words are taken at once: each block is twice as long as the one before, up to the largest."""
HALF = 1 << 32


class Draws:
    """Draws what `np.random.default_rng(seeds)` would, as long as it is asked for what stands here alone.

    Args:
        seeds: The seed.
    """

    def __init__(self, seeds: np.random.SeedSequence) -> None:
        self._bits = np.random.PCG64(seeds)
        self._block = FIRST_BLOCK
        self._words: list[int] = []
        self._at = 0
        self._half: int | None = None
        """The half of a word that no number has been drawn from yet."""

    def _fill(self, count: int) -> None:
        """Have at least `count` words waiting."""
        more = max(self._block, count)
        self._words = self._words[self._at :] + self._bits.random_raw(more).tolist()
        self._at = 0
        self._block = min(2 * self._block, LARGEST_BLOCK)

    def below(self, count: int) -> int:
        """Draw a whole number from 0 to `count - 1`, as `Generator.integers(count)`.

        Args:
            count: At least 1 and less than 2**32.
        """
        if count == 1:
            return 0
        product = self._half_word() * count
        if product % HALF < count:
            least = (HALF - count) % count
            while product % HALF < least:
                product = self._half_word() * count
        return product // HALF

    def _half_word(self) -> int:
        half = self._half
        if half is not None:
            self._half = None
            return half
        if self._at == len(self._words):
            self._fill(1)
        word = self._words[self._at]
        self._at += 1
        self._half = word // HALF
        return word % HALF

    def under(self, share: float, count: int) -> bytes:
        """Draw `count` shares and return which are less than `share`, as `Generator.random(count) < share`.

        Args:
            share: In [0, 1].
            count: How many.

        Returns:
            A byte for each, 1 where it is less and 0 where it is not.
        """
        if self._at + count > len(self._words):
            self._fill(count)
        words = self._words[self._at : self._at + count]
        self._at += count
        # (word >> 11) / 2**53 < share; the right side times 2**53 is exact.
        return bytes(map((math.ceil(share * 2**53) << 11).__gt__, words))

    def two_below(self, count: int) -> tuple[int, int]:
        """Draw two distinct whole numbers, as `Generator.choice(count, size=2, replace=False)`.

        Args:
            count: From 3 to 10,000, beyond which NumPy draws otherwise.
        """
        first = self.below(count - 1)
        second = self.below(count)
        if second == first:
            second = count - 1
        return (first, second) if self.below(2) else (second, first)
