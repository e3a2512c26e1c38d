"""Nouns of titles."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from turngym.webshop_server.reward.nouns import SpacyNouns, words_as_nouns


def test_words_that_are_no_function_words_are_nouns() -> None:
    title = "The Lamp for Dads' Desk, with 2 LED bulbs (E27) and a Lamp-Shade – Café"
    assert words_as_nouns(title) == ("lamp", "dads", "desk", "led", "bulbs", "e", "lamp", "shade", "café")
    assert words_as_nouns("") == ()


@pytest.mark.skipif(importlib.util.find_spec("spacy") is not None, reason="spaCy is installed")
def test_a_missing_tagger_says_how_to_get_it() -> None:
    with pytest.raises(ImportError, match="pip install spacy, then python -m spacy download en_core_web_sm"):
        SpacyNouns("en_core_web_sm")


def test_a_tagger_is_asked_once_for_a_title(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def tag(title: str) -> list[SimpleNamespace]:
        asked.append(title)
        kinds = {"brass": "ADJ", "lamp": "NOUN", "acme": "PROPN"}
        return [SimpleNamespace(text=word, pos_=kinds[word.lower()]) for word in title.split()]

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=lambda model, exclude: tag))
    nouns = SpacyNouns("any")
    assert nouns("Acme Brass Lamp") == ("acme", "lamp") and nouns("Acme Brass Lamp") == ("acme", "lamp")
    assert asked == ["Acme Brass Lamp"]
