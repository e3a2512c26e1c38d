"""The limits and the temperature that are kept beside weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from turngym.agents.models.decoding import DECODING_FILE, Decoding

MINE = Decoding(context_length=100, max_reply_tokens=7, temperature=0.3, keep_thoughts=True)


def test_they_are_read_as_they_were_saved(tmp_path: Path) -> None:
    assert Decoding.read(tmp_path) is None
    for decoding in (MINE, Decoding()):
        decoding.save(tmp_path)
        assert Decoding.read(tmp_path) == decoding


def test_settings_of_other_versions_are_passed_over_and_missing_ones_are_defaults(tmp_path: Path) -> None:
    (tmp_path / DECODING_FILE).write_text(json.dumps({"temperature": 2, "from_the_future": 3}))
    assert Decoding.read(tmp_path) == Decoding(temperature=2)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[3]",
        "[]",
        "{}",
        "null",
        "7",
        '"temperature"',
        '{"other": 1}',
        '{"temperature": "0.3"}',
        '{"context_length": 2.5}',
        "\udcff",
    ],
)
def test_a_damaged_file_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / DECODING_FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"turngym\.json cannot be read: .*; delete it to play by other limits"):
        Decoding.read(tmp_path)


def test_only_what_is_given_changes() -> None:
    assert MINE.changed(temperature=None, context_length=None) == MINE
    assert MINE.changed(temperature=1.0).temperature == 1.0
    assert MINE.changed(temperature=1.0).context_length == 100


def test_what_is_seen_of_earlier_turns_is_compared_as_a_whole() -> None:
    window, turn = Decoding(history="window", history_turns=3), Decoding(history="turn")
    assert [each.window for each in (Decoding(), window, turn)] == [None, 3, 0]
    assert window.unlike(turn) == ["history window 3 (here turn)"]
    assert turn.unlike(Decoding(history_turns=5)) == ["history turn (here all)"]
    assert Decoding(history_turns=5).unlike(Decoding()) == [], "how many turns a window would hold does not matter"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"context_length": 0}, "context_length must be a whole number of at least 1, got 0"),
        ({"max_reply_tokens": True}, "max_reply_tokens must be a whole number of at least 1, got True"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0; use greedy=True"),
        ({"temperature": float("inf")}, "temperature must be above 0, got inf"),
        ({"keep_thoughts": "false"}, "keep_thoughts must be true or false, got 'false'"),
        ({"history": "none"}, "history must be all, served, window or turn, got 'none'"),
        ({"history_turns": 0}, "history_turns must be a whole number of at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Decoding(**settings)
