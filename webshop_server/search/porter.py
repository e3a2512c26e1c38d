"""Porter's algorithm: English words to stems, such as `running` to `run`, with its author's later departures.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980. https://tartarus.org/martin/PorterStemmer names
the departures: `bli` becomes `ble`, `logi` becomes `log`, and words of one or two letters stay. Lucene stems the same
way. The *measure* of a stem is how often a vowel is followed by a consonant in it.
"""

from __future__ import annotations

# Of suffixes that end alike the longest comes first: the first that fits is the only one tried.
_STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("logi", "log"),
)  # fmt: skip
_STEP_3 = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
)  # fmt: skip
_STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion", "ou", "ism", "ate",
    "iti", "ous", "ive", "ize",
)  # fmt: skip


def stem(word: str) -> str:
    """Return the stem of a word in lower case; whatever is not `a` to `z` counts as a consonant.

    Characters beyond U+FFFF count as two, as in Java: with one of them, a word of two characters has three letters.
    """
    if word.isascii() or max(word) <= "\uffff":
        return _stem(word)
    return _stem(_to_utf_16(word)).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _stem(word: str) -> str:
    if len(word) <= 2:
        return word
    for step in (_drop_plural, _drop_past, _y_to_i, _simplify, _simplify_more, _drop_suffix, _tidy):
        word = step(word)
    return word


def _to_utf_16(word: str) -> str:
    """Return the word with every character beyond U+FFFF as its two surrogates."""
    data = word.encode("utf-16-le", "surrogatepass")
    return "".join(chr(data[at] | data[at + 1] << 8) for at in range(0, len(data), 2))


def _shape(letters: str) -> str:
    """Return `v` for every vowel and `c` for every consonant; `y` is a vowel after a consonant."""
    shape = ""
    for letter in letters:
        shape += "v" if letter in "aeiou" or (letter == "y" and shape.endswith("c")) else "c"
    return shape


def _measure(letters: str) -> int:
    return _shape(letters).count("vc")


def _has_vowel(letters: str) -> bool:
    return "v" in _shape(letters)


def _ends_double(letters: str) -> bool:
    return letters[-1] == letters[-2:-1] and _shape(letters)[-1] == "c"


def _ends_short(letters: str) -> bool:
    """Say whether a consonant, a vowel and a consonant other than w, x and y end it, as in `hop`."""
    return _shape(letters).endswith("cvc") and letters[-1] not in "wxy"


def _drop_plural(word: str) -> str:
    """Step 1a."""
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _drop_past(word: str) -> str:
    """Step 1b."""
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        rest = word.removesuffix(suffix)
        if rest != word and _has_vowel(rest):
            return _mend(rest)
    return word


def _mend(word: str) -> str:
    """Restore the end of a word that lost `ed` or `ing`."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _ends_double(word):
        return word if word[-1] in "lsz" else word[:-1]
    return word + "e" if _measure(word) == 1 and _ends_short(word) else word


def _y_to_i(word: str) -> str:
    """Step 1c."""
    return word[:-1] + "i" if word.endswith("y") and _has_vowel(word[:-1]) else word


def _simplify(word: str) -> str:
    """Step 2."""
    return _replace_suffix(word, _STEP_2)


def _simplify_more(word: str) -> str:
    """Step 3."""
    return _replace_suffix(word, _STEP_3)


def _replace_suffix(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    for suffix, replacement in rules:
        if word.endswith(suffix):
            rest = word.removesuffix(suffix)
            return rest + replacement if _measure(rest) > 0 else word
    return word


def _drop_suffix(word: str) -> str:
    """Step 4."""
    for suffix in _STEP_4:
        if word.endswith(suffix):
            rest = word.removesuffix("ion" if suffix in {"sion", "tion"} else suffix)
            return rest if _measure(rest) > 1 else word
    return word


def _tidy(word: str) -> str:
    """Step 5."""
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
