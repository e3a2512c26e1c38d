"""The values and advantages of a step, written and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from turngym.trainers.reporting.credit import Credit, credit_file, read_credit, write_credit


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    credit = Credit(objective="astarpo", residual=True, values=[[0.5, 0.25], [0.1]], advantages=[[1.0, -2.5], None])
    assert read_credit(tmp_path, "train_000025") is None
    write_credit(tmp_path, "train_000025", credit)
    assert read_credit(tmp_path, "train_000025") == credit
    assert list((tmp_path / "credit").iterdir()) == [credit_file(tmp_path, "train_000025")]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"objective": "a", "more": 1}'])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, text: str) -> None:
    credit_file(tmp_path, "a").parent.mkdir()
    credit_file(tmp_path, "a").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json cannot be read"):
        read_credit(tmp_path, "a")
