"""The nouns of a title, which decide whether two products are of the same kind.

The original asks spaCy's tagger, and so can this shop where a model of it is installed. The rule that needs no data
takes every word for a noun that is neither a function word nor written with digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_FUNCTION_WORDS = """
a about above after all also an and any are as at be been before below between both but by can could do does down each
either every few for from had has have her here him his how i if in into is it its just me more most much my neither no
nor not of off on once one only or other our out over own per she should so some such than that the their them then
there these they this those through to too under until up upon us very via was we were what when where which while who
will with within without would you your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


@lru_cache(maxsize=1 << 16)
def words_as_nouns(title: str) -> tuple[str, ...]:
    """Return the words of a title in lower case that are neither function words nor written with digits."""
    return tuple(word for word in re.findall(r"[^\W\d_]+", title.lower()) if word not in FUNCTION_WORDS)


class SpacyNouns:
    """Nouns and proper nouns as a model of spaCy tags them; what the original does.

    Args:
        model: Name of an installed model; the original's is `en_core_web_sm`.

    Raises:
        ImportError: spaCy or the model is not installed.
    """

    def __init__(self, model: str) -> None:
        try:
            import spacy

            self._tag: Any = spacy.load(model, exclude=["ner", "lemmatizer"])
        except (ImportError, OSError) as error:
            raise ImportError(f"the tagger needs spaCy and its model {model}: pip install spacy, then "
                              f"python -m spacy download {model}") from error  # fmt: skip
        self._nouns = lru_cache(maxsize=1 << 16)(self._tagged)

    def __call__(self, title: str) -> Sequence[str]:
        """Return the nouns of a title in lower case."""
        return self._nouns(title)

    def _tagged(self, title: str) -> tuple[str, ...]:
        return tuple(token.text.lower() for token in self._tag(title) if token.pos_ in {"NOUN", "PROPN"})
