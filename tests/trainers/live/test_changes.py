"""The record of live changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from turngym._errors import InputError
from turngym.trainers.live.changes import Change, held_after, held_in_step, read_changes, write_changes

CHANGES = [
    Change(step=3, rollbacks=0, values={"objective.beta": 0.1 + 0.2, "objective.filter_share": None}),
    Change(step=2, rollbacks=1, values={"objective.beta": "auto", "learning.temperature": 0.5}),
]


def test_a_record_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    assert read_changes(path) == []
    write_changes(path, CHANGES)
    assert read_changes(path) == CHANGES and [path] == list(tmp_path.iterdir())


def test_moments_rise_through_a_rollback() -> None:
    assert CHANGES[0].moment < CHANGES[1].moment


def test_what_is_held_is_what_was_given_last() -> None:
    assert held_after(CHANGES[:1]) == {
        "objective.beta": 0.1 + 0.2, "objective.beta_final": 0.1 + 0.2, "objective.filter_share": None,
    }  # fmt: skip
    assert held_after(CHANGES) == {
        "objective.filter_share": None, "learning.temperature": 0.5, "learning.temperature_final": 0.5,
    }  # fmt: skip


def test_what_is_held_in_a_step_is_what_was_taken_before_it() -> None:
    held = [[sorted(held_in_step(CHANGES, step, rollbacks)) for step in (2, 3, 4)] for rollbacks in (0, 1)]
    beta = ["objective.beta", "objective.beta_final", "objective.filter_share"]
    released = ["learning.temperature", "learning.temperature_final", "objective.filter_share"]
    assert held == [[[], [], beta], [beta, released, released]], "a rollback takes nothing back"


@pytest.mark.parametrize(
    "line", ['{"step": 1', "[]", '{"step": 1, "rollbacks": 0}', '{"step":"a","rollbacks":0,"values":{}}']
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "live.jsonl"
    write_changes(path, CHANGES)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"line 3, is no change of settings: put the file back, or delete it"):
        read_changes(path)
