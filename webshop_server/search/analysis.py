r"""Text to terms, as Lucene's analyzer for English does it in the search engine of the original WebShop.

Tokens follow the word boundaries of Unicode Standard Annex #29 with Lucene's additions: emoji are tokens, of Chinese
and Hiragana every character is one, and Thai and its neighbors stay in runs. Then a possessive `'s` goes, letters
become lower case, stop words are left out, and the rest is stemmed.

Lucene 9.9 knows Unicode 12.1. Where a later Unicode changed a character, the patterns here keep to 12.1, and
characters that came later belong to no token.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import lru_cache

import regex

from turngym.webshop_server.search.porter import stem

MAX_TOKEN_UNITS = 255
"""Longer tokens are cut, in UTF-16 code units: beyond U+FFFF a character counts two."""
STOP_WORDS = frozenset(
    [
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
        "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was",
        "will", "with",
    ]
)  # fmt: skip
_POSSESSIVES = tuple(quote + letter for quote in "'\u2019\uff07" for letter in "sS")
_CACHED_TOKENS = 1 << 16

# Extended_Pictographic in Unicode 12.1; later versions took many of them back, such as the star U+2605.
_PICTOGRAPHS = (
    r"\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3"
    r"\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705"
    r"\u2708-\u2712\u2714\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767"
    r"\u2795-\u2797\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    r"\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e"
    r"\U0001f191-\U0001f19a\U0001f1ad-\U0001f1e5\U0001f201-\U0001f20f\U0001f21a\U0001f22f\U0001f232-\U0001f23a"
    r"\U0001f23c-\U0001f23f\U0001f249-\U0001f3fa\U0001f400-\U0001f53d\U0001f546-\U0001f64f\U0001f680-\U0001f6ff"
    r"\U0001f774-\U0001f77f\U0001f7d5-\U0001f7ff\U0001f80c-\U0001f80f\U0001f848-\U0001f84f\U0001f85a-\U0001f85f"
    r"\U0001f888-\U0001f88f\U0001f8ae-\U0001f8ff\U0001f90c-\U0001f93a\U0001f93c-\U0001f945\U0001f947-\U0001fffd"
)
# What Unicode 12.1 counted among the marks, not among digits and letters.
_FORMER_MARKS = r"\u0600-\u0605\u06dd\u070f\u08e2\U000110bd\U000110cd"
# What it did not count among the letters.
_LATER_LETTERS = r"\u00b8\u02e5-\u02eb\u055a\u058a\ua708-\ua716"

# Places without a character in Unicode 12.1, up to Unicode 17, that hold one now which would be part of a token.
_LATER_CHARACTERS = """
    558 58b-58c 5c8-5c9 870-89f 8b5 8be-8d2 b53-b55 c3c c5c-c5d cdc-cdd cf3 d04 d81 ece 170d 1715-171f 180f
    1abf-1af0 1b4c 1c89-1c8a 1dfa 208f 209d-209f 2c2f 2c5f 31bb-31bf 4db6-4dbf 9ff0-9fff a7c0-a7c1 a7c7-a7f6 a82c
    ab68-ab6d 10570-105f3 10780-107bf 10940-10959 10d40-10d85 10e80-10eff 10f70-10fc4 11070-11075 110c2 11147
    111ce-111cf 1123f-11241 11380-113e2 11460-11461 116d0-116e3 11740-11746 11900-11959 11ab0-11abf 11b0a-11bf9
    11db0-11df1 11f00-11fb0 1246f 12475-1247f 12550-12ff0 1342f 13439-143fa 16100-16139 16a70-16ac9 16d40-16d79
    16ea0-16ed3 16fe4-16ff6 1aff0-1affe 1b11f-1b132 1b155 1b168 1ccf0-1cf46 1d127-1d128 1d250-1d281 1d6a6
    1df00-1dfff 1e030-1e08f 1e290-1e2ae 1e4d0-1e7fe 1fbf0-1fbf9 2a6d7-2a6df 2b735-2b73f 2b81e 2cea2-2cead
    2ebf0-2ee5d 30000-33479
"""


def _word(part: str, underscore: str) -> str:
    """Return the pattern of a word: parts, with underscores between and around them.

    Every repetition is possessive (`*+`, `++`) and few underscores are tried before a word, so that the time to read a
    text is linear in its length.
    """
    return rf"{underscore}{{0,{MAX_TOKEN_UNITS}}}+ {part} (?: {underscore}++ {part} )*+ {underscore}*+"


def _runs(*units: str) -> str:
    """Return the pattern of letters and digits that follow each other, in any order."""
    return rf"(?: {' | '.join(units)} )++"


def _joined(unit: str, inside: str) -> str:
    """Return the pattern of one unit or several, with one sign between two of them, such as the point of "a.b"."""
    return rf"{unit} (?: {inside} {unit} )*+"


def _ascii_token() -> str:
    return _word(_runs(_joined("[0-9]++", "[.,;']"), _joined("[A-Za-z]++", "[.:']")), "_")


def _any_token() -> str:
    """Return the pattern of a token in any script, of which the ASCII one is a special case."""
    mark = rf"[\p{{WB=Extend}}\p{{WB=Format}}\p{{WB=ZWJ}}{_FORMER_MARKS}]"

    def marked(chars: str) -> str:
        return rf"(?: {chars} {mark}*+ )"

    letter = marked(rf"[[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]--[{_LATER_LETTERS}{_FORMER_MARKS}]]")
    full_width = r"[\p{Block=Halfwidth_And_Fullwidth_Forms}&&\p{Nd}]"
    digit = marked(rf"[[\p{{WB=Numeric}}{full_width}]--[{_FORMER_MARKS}\u19da]]")
    in_word = marked(r"[[\p{WB=MidLetter}\p{WB=MidNumLet}\p{WB=Single_Quote}]--\u055f]")
    in_number = marked(r"[\p{WB=MidNum}\p{WB=MidNumLet}\p{WB=Single_Quote}\ufe10\ufe14]")
    hebrew, quote, quotes = marked(r"\p{WB=Hebrew_Letter}"), marked(r"\p{WB=Single_Quote}"), marked('"')
    hebrew_quote = rf"{hebrew} (?: {quote} | {quotes} {hebrew} )"
    letters = _runs(hebrew_quote, _joined(digit, in_number), _joined(letter, in_word))
    katakana = marked(r"\p{WB=Katakana}")
    word = _word(rf"(?: {katakana}++ | {letters} )", marked(r"\p{WB=ExtendNumLet}"))

    plain_mark = rf"[{mark}--[\ufe0e\ufe0f]]"
    modifier = rf"\p{{Emoji_Modifier}} {plain_mark}*+"
    tags = r"[\U000e0020-\U000e007e]++ \U000e007f"
    picture = rf"(?: [{_PICTOGRAPHS}] {plain_mark}*+ (?: \ufe0f (?: {tags} )? )? )"
    emoji = rf"(?: \u200d{{0,{MAX_TOKEN_UNITS}}}+ {picture} | {modifier} )"
    joined_emoji = rf"(?: (?<=\u200d) {picture} | \u200d++ {picture} | \u200d {modifier} )"
    key_cap = rf"[#*] (?: {plain_mark}*+ \ufe0f (?=\u20e3) | (?= [{plain_mark}--\u20e3]*+ \u20e3 ) ) {plain_mark}++"
    flag = marked(r"\p{WB=Regional_Indicator}") + "{2}"

    southeast_asian = marked(r"[\p{LB=SA}\u19da]") + "++"
    ideograph = marked(r"[[\p{Script=Han}\p{Script=Hiragana}]--\U00016fe2]")
    return " | ".join([rf"{emoji} {joined_emoji}++", word, emoji, key_cap, flag, southeast_asian, ideograph])


def _range(places: str) -> str:
    """Return a range of hexadecimal numbers as it stands in a set of characters."""
    return "-".join(rf"\U{place:0>8}" for place in places.split("-"))


_LATER = regex.compile(f"[{''.join(map(_range, _LATER_CHARACTERS.split()))}]")
_ASCII_TOKEN = regex.compile(_ascii_token(), regex.VERBOSE)
_TOKEN = regex.compile(_any_token(), regex.VERBOSE | regex.VERSION1)


def analyze(text: str) -> list[str]:
    """Return the terms of a text in their order, with repetitions.

    Any string will do: what belongs to no token, such as punctuation, control characters and lone surrogates, is left
    out. It takes time linear in the length of the text.
    """
    return [term for token in tokenize(text) if (term := _term(token))]


def tokenize(text: str) -> list[str]:
    """Return the tokens of a text in their order, as they are written, of at most 255 UTF-16 code units each."""
    pattern = _ASCII_TOKEN if text.isascii() else _TOKEN
    if pattern is _TOKEN:
        text = _LATER.sub(" ", text)
    tokens: list[str] = pattern.findall(text)
    return tokens if all(map(_surely_fits, tokens)) else list(_cut_tokens(pattern, text))


def _surely_fits(token: str) -> bool:
    return len(token) <= MAX_TOKEN_UNITS // 2


def _cut_tokens(pattern: regex.Pattern[str], text: str) -> Iterator[str]:
    """Yield the tokens of a text; of those that are too long, what fits is one, and the search goes on after it."""
    at = 0
    while (match := pattern.search(text, at)) is not None:
        if _surely_fits(match[0]):
            yield match[0]
            at = match.end()
        else:
            at = yield from _cut(pattern, text, *match.span())


def _cut(pattern: regex.Pattern[str], text: str, at: int, end: int) -> Generator[str, None, int]:
    """Yield what there is of tokens that fit between two places; return where the last of them ends."""
    while at < end:
        match = pattern.match(text, at, _window_end(text, at))
        if match is None:
            at += 1
        else:
            yield match[0]
            at = match.end()
    return at


def _window_end(text: str, at: int) -> int:
    """Return where the longest token that begins at a place would be cut."""
    window = text[at : at + MAX_TOKEN_UNITS]
    units = 0
    for length, char in enumerate(window if max(window) > "\uffff" else ""):
        units += 2 if char > "\uffff" else 1
        if units > MAX_TOKEN_UNITS:
            return at + length
    return at + len(window)


@lru_cache(maxsize=_CACHED_TOKENS)
def _term(token: str) -> str:
    """Return what is indexed for a token, or nothing for a stop word."""
    word = _lower(token[:-2] if token.endswith(_POSSESSIVES) else token)
    return "" if word in STOP_WORDS else stem(word)


def _lower(token: str) -> str:
    """Return the token in lower case, each character for itself: `str.lower` looks at neighbors, and makes İ two."""
    return token.lower() if token.isascii() else "".join("i" if char == "İ" else char.lower() for char in token)
