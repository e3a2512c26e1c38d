"""Nouns of titles."""

from __future__ import annotations

import importlib.util

import pytest

from turngym.webshop_server.nouns import SpacyNouns, words_as_nouns


def test_words_that_are_no_function_words_are_nouns() -> None:
    title = "The Lamp for Dads' Desk, with 2 LED bulbs (E27) and a Lamp-Shade – Café"
    assert words_as_nouns(title) == ("lamp", "dads", "desk", "led", "bulbs", "e", "lamp", "shade", "café")
    assert words_as_nouns("") == ()


@pytest.mark.skipif(importlib.util.find_spec("spacy") is not None, reason="spaCy is installed")
def test_a_missing_tagger_says_how_to_get_it() -> None:
    with pytest.raises(ImportError, match="pip install spacy, then python -m spacy download en_core_web_sm"):
        SpacyNouns()
