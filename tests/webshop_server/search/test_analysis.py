"""Terms of texts in many scripts; the expected ones are what Lucene 9.9.1 makes of the same texts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.search.analysis import MAX_TOKEN_UNITS, STOP_WORDS, analyze, tokenize


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Dog's dogs’s CATS＇S s' 's", ["dog", "dog", "cat", "s", "s"]),
        ("don't won’t", ["don't", "won’t"]),
        ("The THE thes their's it's", ["the"]),
        ("a.b a.b. .a 1.5 1,000.25 1;2", ["a.b", "a.b", "1.5", "1,000.25", "1;2"]),
        ("1:2 a:b a,b 1.a", ["1", "2", "a:b", "b", "1"]),
        ("foo_bar __init__ ___ _1_", ["foo_bar", "__init__", "_1_"]),
        ("wi-fi 3-pack 12oz 5'9 t-shirt/top", ["wi", "fi", "3", "pack", "12oz", "5'9", "t", "shirt", "top"]),
        ("C++ C# .NET node.js AT&T $9.99 50%", ["c", "c", "net", "node.j", "t", "9.99", "50"]),
        ("tab\tnul\x00bell\x07end\r\n", ["tab", "nul", "bell", "end"]),
    ],
)
def test_latin_text(text: str, terms: list[str]) -> None:
    assert analyze(text) == terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("café naïve ÉCOLE İstanbul ΣΑΣ", ["café", "naïv", "école", "istanbul", "σασ"]),
        ("e\u0301a\u0300 \u0301a", ["e\u0301a\u0300"]),
        ("漢字 ひら カタカナ カA 한국어", ["漢", "字", "ひ", "ら", "カタカナ", "カ", "한국어"]),
        ("การa ๑๒", ["การ", "๑๒"]),
        ("אב\"ג' א'", ['אב"ג', "א'"]),
        ("ＡＢ １２ ﬁt", ["ａｂ", "１２", "ﬁt"]),
        ("٣٬٤ ١.5", ["٣٬٤", "١.5"]),
        ("soft\u00adhyphen zero\u200bwidth non\u00a0break", ["soft\u00adhyphen", "zero", "width", "non", "break"]),
        ("\ufeffbom x·y x‧y x‘y x．y", ["bom", "x·y", "x‧y", "x‘y", "x．y"]),
        ("\U0001d41as \U0001d400", ["\U0001d41a", "\U0001d400"]),
        ("lone\ud800surrogate \udc00", ["lone", "surrog"]),
    ],
)
def test_other_scripts(text: str, terms: list[str]) -> None:
    assert analyze(text) == terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("(c) © ®™ ★ ✔\ufe0f ❤ • → ●", ["c", "©", "®", "™", "★", "✔\ufe0f", "❤"]),
        ("😀😀 👍🏽 🏽 a😀b", ["😀", "😀", "👍🏽", "🏽", "😀", "b"]),
        ("👩\u200d⚕\ufe0f\u200d👩 \u200d👩", ["👩\u200d⚕\ufe0f\u200d👩", "\u200d👩"]),
        ("🇫🇷🇩 🇫", ["🇫🇷"]),
        ("#\ufe0f\u20e3 1\ufe0f\u20e3 # *", ["#\ufe0f\u20e3", "1\ufe0f\u20e3"]),
        ("🏴\U000e0067\U000e0062\U000e007f", ["🏴\U000e0067\U000e0062\U000e007f"]),
        ("Ⓜ\u200d👍 ℹa", ["ⓜ\u200d👍", "ℹa"]),
    ],
)
def test_symbols_and_emoji(text: str, terms: list[str]) -> None:
    assert analyze(text) == terms


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("a" * 255, [255]),
        ("a" * 256, [255, 1]),
        ("x " + "a" * 600 + " y", [1, 255, 255, 90, 1]),
        ("\U0001d41a" * 200, [127, 73]),
        ("_" * 300 + "a", [255]),
        ("a." * 200, [255, 143]),
    ],
)
def test_long_tokens_are_cut(text: str, lengths: list[int]) -> None:
    assert [len(token) for token in tokenize(text)] == lengths


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_terms(text: str) -> None:
    tokens = tokenize(text)
    assert all(0 < len(token.encode("utf-16-le", "surrogatepass")) <= 2 * MAX_TOKEN_UNITS for token in tokens)
    assert all(analyze(text))
    rest = iter(text)
    assert all(char in rest for token in tokens for char in token), "tokens stand in the text, in their order"


@given(st.text(st.characters(codec="ascii"), max_size=400))
def test_ascii_has_the_same_tokens_in_any_company(text: str) -> None:
    assert tokenize(text) == tokenize(f"{text} \u2022")


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_a_line_has_the_same_tokens_alone(lines: list[str]) -> None:
    assert tokenize("\n".join(lines)) == [token for line in lines for token in tokenize(line)]


@given(st.text())
def test_a_token_is_one_token(text: str) -> None:
    for token in tokenize(text):
        assert tokenize(token) == [token]


def test_stop_words_are_left_out() -> None:
    assert len(STOP_WORDS) == 33
    assert analyze(" ".join(sorted(STOP_WORDS)).upper()) == []


@pytest.mark.parametrize(
    "unit",
    ["a", "_", "_\u0301", "a_", "a.", ".", "\u200d", "\u200d_", "👍\u200d", "#\u0301", '\u05d0"', "\u0e01", "\udc00"],
)
def test_time_is_linear_in_the_length(unit: str) -> None:
    started = time.process_time()
    analyze((unit * 100_000)[:100_000])
    assert time.process_time() - started < 10


@pytest.mark.parametrize("later", "\u08cc\u0870\ua7c7\U00010f70\U0001dfff\U00030000\U0001e290\u9ff0\U00011f00")
def test_characters_later_than_those_of_lucene_belong_to_no_token(later: str) -> None:
    assert analyze(f"yg{later}") == ["yg"] and analyze(later) == [] and analyze(f"a1{later}b2") == ["a1", "b2"]
    assert analyze("yg\u08a0") == ["yg\u08a0"], "one of before is a letter"
