"""Stems, step by step: the examples of Porter's paper, his departures, and words that are no English."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.search.porter import stem


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *[("caresses", "caress"), ("ponies", "poni"), ("caress", "caress"), ("cats", "cat"), ("ties", "ti")],
        *[("feed", "feed"), ("agreed", "agre"), ("plastered", "plaster"), ("bled", "bled"), ("motoring", "motor")],
        *[("sing", "sing"), ("conflated", "conflat"), ("troubled", "troubl"), ("sized", "size"), ("hopping", "hop")],
        *[("tanned", "tan"), ("falling", "fall"), ("hissing", "hiss"), ("fizzed", "fizz"), ("failing", "fail")],
        *[("filing", "file"), ("happy", "happi"), ("sky", "sky"), ("relational", "relat"), ("rational", "ration")],
        *[("valenci", "valenc"), ("digitizer", "digit"), ("radically", "radic"), ("differently", "differ")],
        *[("vilely", "vile"), ("analogously", "analog"), ("vietnamization", "vietnam"), ("predication", "predic")],
        *[("operator", "oper"), ("feudalism", "feudal"), ("decisiveness", "decis"), ("hopefulness", "hope")],
        *[("callousness", "callous"), ("formality", "formal"), ("sensitivity", "sensit"), ("sensibility", "sensibl")],
        *[("triplicate", "triplic"), ("formative", "form"), ("formalize", "formal"), ("electrical", "electr")],
        *[
            ("hopeful", "hope"),
            ("goodness", "good"),
            ("revival", "reviv"),
            ("allowance", "allow"),
            ("airliner", "airlin"),
        ],
        *[("adjustable", "adjust"), ("defensible", "defens"), ("irritant", "irrit"), ("replacement", "replac")],
        *[("adjustment", "adjust"), ("dependent", "depend"), ("adoption", "adopt"), ("homologou", "homolog")],
        *[("communism", "commun"), ("activate", "activ"), ("effective", "effect"), ("bowdlerize", "bowdler")],
        *[("probate", "probat"), ("rate", "rate"), ("cease", "ceas"), ("controll", "control"), ("roll", "roll")],
    ],
)
def test_examples_of_the_paper(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("possibly", "possibl"),  # bli becomes ble, not only abli able
        ("apology", "apolog"),
        ("geology", "geologi"),  # without logi nothing is left to measure
        *[("is", "is"), ("as", "as"), ("s", "s"), ("", "")],
    ],
)
def test_departures_of_the_author(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *[("12s", "12"), ("cafés", "café"), ("naïveness", "naïv"), ("don't", "don't"), ("a_bs", "a_b")],
        *[("éed", "éed"), ("eyed", "ei"), ("yyyed", "yy"), ("ions", "ion"), ("eed", "eed"), ("ing", "ing")],
        *[("\U0001d41as", "\U0001d41a"), ("\U0001d41a", "\U0001d41a"), ("ßs", "ßs"), ("\ud800s", "\ud800s")],
    ],
)
def test_other_letters_are_consonants(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(st.text(max_size=30))
def test_stems_of_anything_are_hardly_longer(word: str) -> None:
    assert len(stem(word)) <= len(word)


@given(st.text(st.sampled_from("ABCDE0123456789éñ_" + string.punctuation), max_size=12))
def test_words_without_suffixes_stay(word: str) -> None:
    assert stem(word) == word
