"""Which rotary pairs of an attention head are fast enough to tell neighbours apart, and which slow enough not to.

A rotary pair turns by its frequency, in radians, from one token to the next (Su et al., 2021, "RoFormer"). No tensor
library is needed here, so that a configuration can be checked without one.
"""

from __future__ import annotations

from dataclasses import dataclass

FAST_TURN = 1 / 16
"""From this frequency on, radians per token, a pair helps to tell a token from its neighbours."""
SLOW_TURN = 1.0
"""A slow pair turns by at most this angle, radians, over the whole context."""
FEWEST_FAST, FEWEST_SLOW = 2, 4
"""With fewer pairs of a kind, other distances or other tokens look alike."""


@dataclass(frozen=True, slots=True)
class RotaryPairs:
    """The rotary pairs of a head, from the fastest to the slowest."""

    frequencies: tuple[float, ...]
    """Radians per token."""
    fast: tuple[int, ...]
    """The places of those that tell neighbours apart."""
    slow: tuple[int, ...]
    """The places of those that hardly turn within the context."""


def rotary_pairs(width: int, *, base: float, context_length: int) -> RotaryPairs:
    """Return the rotary pairs of a head.

    Args:
        width: Even width of the head.
        base: The rotary base.
        context_length: The tokens within which slow pairs hardly turn.
    """
    count = width // 2
    frequencies = tuple(base ** (-place / count) for place in range(count))
    fast = tuple(place for place in range(count) if frequencies[place] >= FAST_TURN)
    slow = tuple(place for place in range(count) if frequencies[place] * context_length <= SLOW_TURN)
    return RotaryPairs(frequencies, fast, slow)


def check_copying(*, layers: int, width: int, rope_base: float, context_length: int) -> None:
    """Check that a shape can hold weights that copy.

    Args:
        layers: Depth of the decoder.
        width: Even width of a head.
        rope_base: The rotary base.
        context_length: Longest token stream.

    Raises:
        ValueError: It cannot; the message says what would do.
    """
    if layers < 2:
        raise ValueError("copying takes two layers: raise layers to at least 2")
    pairs = rotary_pairs(width, base=rope_base, context_length=context_length)
    for kind, count, least, cure in (
        ("hardly turn within the context", len(pairs.slow), FEWEST_SLOW, "raise rope_base"),
        ("tell neighbours apart", len(pairs.fast), FEWEST_FAST, "lower rope_base"),
    ):
        if count < least:
            raise ValueError(
                f"copying takes {least} rotary pairs that {kind}, and heads of width {width} have {count} with a "
                f"rope_base of {rope_base:g} and a context of {context_length}: {cure}, or take fewer and wider heads"
            )
