"""Of a line its numbers are sent, and a list survives what ends a process."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turngym.trainers.reporting.sent import Sent, flat_numbers, flat_settings, line_key, markdown_table


def test_a_line_is_flattened_to_its_numbers() -> None:
    line: dict[str, Any] = {
        "loss": 0.5, "step": 3, "solved": True, "none": None, "alarm": "drift", "nan": math.nan,
        "levels": [{"success": 0.25, "kwargs": {"size": 2}}, {"success": 0.75, "name": "hard"}],
        "value_calibration": [[0.1, 0.2], [0.8, 0.7]], "curve": [1.0, 2.0], "empty": [], "nothing": {},
    }  # fmt: skip
    flat = flat_numbers(line)
    assert math.isnan(flat.pop("nan"))
    assert flat == {"loss": 0.5, "step": 3.0, "solved": 1.0, "levels/0/success": 0.25, "levels/0/kwargs/size": 2.0,
                    "levels/1/success": 0.75}  # fmt: skip


LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=3)
LINES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1,
                 max_size=2), inner, max_size=3), max_leaves=8),
)  # fmt: skip


@given(LINES)
def test_whatever_a_line_holds_numbers_alone_are_sent(line: dict[str, Any]) -> None:
    flat = flat_numbers(line)
    assert all(type(number) is float for number in flat.values())
    for name, value in line.items():
        assert (name in flat) == isinstance(value, bool | int | float)
        if name in flat:
            assert flat[name] == value or math.isnan(flat[name])
    assert {name.partition("/")[0] for name in flat} <= set(line)
    assert flat_numbers(json.loads(json.dumps(line))).keys() == flat.keys()


def test_settings_have_the_names_of_the_command_line() -> None:
    config = {"env": {"id": "turngym/FrozenLake-v0", "kwargs": {"size": 3}}, "run": {"seed": 7, "name": ""}}
    assert dict(flat_settings(config)) == {"env.id": "turngym/FrozenLake-v0", "env.kwargs.size": "3", "run.seed": "7",
                                           "run.name": ""}  # fmt: skip


def test_cells_stay_in_their_table() -> None:
    assert markdown_table(["a", "b"], [["x|y", "two\nlines"]]).splitlines() == [
        "| a | b |", "| --- | --- |", "| x\\|y | two lines |"
    ]  # fmt: skip


def test_lines_of_one_step_are_told_apart() -> None:
    lines: list[tuple[str, dict[str, Any]]] = [
        ("astarpo", {}), ("astarpo", {"rollbacks": 1}), ("reset", {}), ("alarm", {"alarm": "drift"}),
        ("alarm", {"alarm": "kl_tax"}),
    ]  # fmt: skip
    keys = {line_key(phase, step, numbers) for phase, numbers in lines for step in (1, 2)}
    assert len(keys) == 2 * len(lines)
    assert line_key("astarpo", 1, {"rollbacks": 0, "loss": 2.0}) in keys


def test_the_list_has_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "tracker" / "sent.txt"
    sent = Sent(path)
    sent.add("first")
    sent.save()
    sent.add("second")
    assert "second" in sent and len(sent) == 2
    again = Sent(path)
    assert "first" in again and "second" not in again and len(again) == 1
    again.add("third")
    again.save()
    again.save()
    assert path.read_text().splitlines() == ["first", "third"]
