"""Whether two texts count as the same: fuzzy matching and color words, as in the original.

Fuzzy matching is the token set ratio of thefuzz 0.19, rounded to a percentage. That release measures with difflib,
whose ratio never exceeds the one of rapidfuzz: the fast ratio sorts out what cannot match, the slow one decides the
rest.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache

from rapidfuzz import fuzz

THRESHOLD = 85
"""Texts match above this percentage."""
_COLOR_WORDS = """
    alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo
    caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream crystal
    dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather indigo ivory
    ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor
    mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand
    sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet walnut
    wheat white wine yellow
"""
COLORS = tuple(_COLOR_WORDS.split())
"""Words that name a color, in the order in which they are looked for."""
LATIN_1_SUPPLEMENT = dict.fromkeys(range(128, 256))
"""Characters that thefuzz drops; those beyond are kept."""


@lru_cache(maxsize=1 << 16)
def matches(left: str, right: str) -> bool:
    """Return whether the token set ratio of two texts exceeds the threshold.

    Close to the threshold the result can depend on the order of the two.
    """
    left, right = _plain(left), _plain(right)
    if not left or not right or round(fuzz.token_set_ratio(left, right)) <= THRESHOLD:
        return False
    return _token_set_percentage(left, right) > THRESHOLD


def color_within(text: str) -> str:
    """Return the first color word that the text contains, even inside another word; without one, the text.

    So `redwood` is `red`, and the `tan` in `tank top` makes it `tan`.
    """
    return next((color for color in COLORS if color in text), text)


@lru_cache(maxsize=1 << 12)
def color_word(text: str) -> str:
    """Return the first color word that is a whole word of the text; without one, the text."""
    words = set(re.findall(r"[a-z]+", text))
    return next((color for color in COLORS if color in words), text)


@lru_cache(maxsize=1 << 16)
def _plain(text: str) -> str:
    """Return what thefuzz compares: lower-case letters, digits and underscores, anything else as spaces."""
    return re.sub(r"\W", " ", text.translate(LATIN_1_SUPPLEMENT)).lower().strip()


def _token_set_percentage(left: str, right: str) -> int:
    """Return the best ratio among the common words and the common words with the rest of either text."""
    left_words, right_words = set(left.split()), set(right.split())
    common = " ".join(sorted(left_words & right_words))
    with_left = f"{common} {' '.join(sorted(left_words - right_words))}".strip()
    with_right = f"{common} {' '.join(sorted(right_words - left_words))}".strip()
    return max(_percentage(common, with_left), _percentage(common, with_right), _percentage(with_left, with_right))


def _percentage(left: str, right: str) -> int:
    if not left or not right:
        return 0
    return 100 if left == right else round(100 * SequenceMatcher(None, left, right).ratio())
