"""The values and advantages of a step, written and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from turngym.trainers.reporting.credit import Credit, credit_file, read_credit, write_credit


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    credit = Credit(objective="astarpo", residual=True, values=[[0.5, 0.25], [0.1]], advantages=[[1.0, -2.5], None])
    episodes = tmp_path / "train_000025.jsonl"
    assert read_credit(episodes) is None
    write_credit(episodes, credit)
    assert read_credit(episodes) == credit
    assert [path.name for path in tmp_path.iterdir()] == ["train_000025.credit.json"] == [credit_file(episodes).name]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"objective": "a", "more": 1}'])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, text: str) -> None:
    credit_file(tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"a\.credit\.json cannot be read"):
        read_credit(tmp_path / "a.jsonl")
