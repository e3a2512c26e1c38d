"""Numbers of models and their play that tell how much memory they take; without torch."""

LARGE = 50_000_000
"""From so many weights on a model is taken for one that knows language already, and to need memory."""
DEFAULT_CONTEXT = 4096
"""Longest row of a model whose configuration names no limit."""
ALIGNMENT = 32
"""Columns of a cache are taken in multiples of this, so that those of every head begin on a cache line: where a matrix
lies may change the last bit of a product, which must not depend on how long earlier conversations were."""
MAX_PASS_TOKENS = 16_384
"""Most tokens of the rows that are read in one forward pass; bounds the memory that long openings take."""
