"""The closing table, the learning curve and the page."""

from __future__ import annotations

import builtins
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from turngym._errors import InputError
from turngym.agents.evaluation import Score
from turngym.agents.intervals import wilson_interval
from turngym.cli.report import alarm_line, score_table, write_page, write_report
from turngym.extras import install_command
from turngym.trainers.reporting.curves import read_curve
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.tables import COLUMNS, cut_cell, result_rows, table_cells, table_notes

PNG = b"\x89PNG\r\n\x1a\n"


def score(successes: int = 40, episodes: int = 50, errors: int = 0) -> Score:
    """Return a score of round numbers."""
    return Score(episodes=episodes, successes=successes, rate=successes / episodes, errors=errors,
                 interval=wilson_interval(successes, episodes), mean_return=0.5, mean_turns=3.25, mean_tokens=12.5,
                 seconds=1.5, instances=48, cut_episodes=0.004, cut_replies=0.25)  # fmt: skip


def result() -> dict[str, Any]:
    """Return a result as a run writes it."""
    scores = {"random": 10, "base_sampled": 20, "base_greedy": 25, "trained_sampled": 40, "trained_greedy": 45}
    return {"env_id": "turngym/FrozenLake-v0", "optimum": 0.98, "seconds": {"warm_start": 61.0, "<b>": 2.0},
            **{name: score(successes).to_dict() for name, successes in scores.items()}}  # fmt: skip


def metrics() -> list[str]:
    """Return the lines of a run's metrics, the last one torn."""
    lines = [
        json.dumps({"phase": "warm_start", "step": 100, "success": 0.3}),
        json.dumps({"phase": "values", "step": 1}),
    ]
    lines += [json.dumps({"phase": "learning", "step": step, "success": step / 40}) for step in range(1, 31)]
    return [*lines, '{"phase": "learning", "st']


def test_the_rows_stand_in_order_from_floor_to_optimum() -> None:
    rows = result_rows(json.loads(json.dumps(result())))
    assert list(rows) == ["random", "base, sampled", "base, greedy", "trained, sampled", "trained, greedy", "optimum"]
    assert rows["optimum"] == 0.98 and rows["trained, greedy"] == score(45)


def test_cells_by_hand() -> None:
    rows: dict[str, Score | float | None] = {"player": score(errors=2), "optimum": 0.5, "elsewhere": None}
    assert table_cells(rows) == [
        ["player", "0.800", "[0.670, 0.888]", "0.500", "3.2", "12.5", "<1/25", "1.5", "50 (+2 errors)"],
        ["optimum", "0.500", *[""] * 7],
        ["elsewhere", "unknown", *[""] * 7],
    ]


def test_notes_say_what_the_numbers_do_not() -> None:
    assert table_notes({"player": score(), "optimum": 0.5}) == [
        "50 episodes of 48 instances; the interval is over instances.",
        "cut %, first number: the context ended these episodes, which then count as failures; raise context_length.",
        "cut %, second number: these replies ended at the limit of tokens; raise max_reply_tokens.",
    ]
    whole = replace(score(), instances=50, cut_episodes=0.0, cut_replies=0.0)
    assert table_notes({"player": whole, "other": whole}) == []
    old = replace(score(), instances=None, cut_episodes=None, cut_replies=None)
    assert table_notes({"player": old}) == [] and cut_cell(old) == "?/?"
    assert [cut_cell(replace(score(), cut_replies=share)) for share in (0.0, 0.01, 1.0)] == ["<1/0", "<1/1", "<1/100"]


@pytest.mark.parametrize("width", [80, 110])
def test_the_table_shows_every_cell(width: int) -> None:
    written = io.StringIO()
    Console(width=width, file=written).print(score_table(result_rows(result()), "title"))
    text = written.getvalue()
    assert all(cell in text for cells in table_cells(result_rows(result())) for cell in cells)
    assert all(column in text for column in COLUMNS) and "title" in text and "…" not in text


@pytest.mark.parametrize("broken", [{"random": {"rate": 1}}, {"random": [3]}])
def test_a_damaged_result_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot be shown"):
        result_rows(broken)


def test_the_curve_reads_one_phase_and_passes_over_what_is_damaged(tmp_path: Path) -> None:
    torn = (
        b'7\n[]\n"x"\n{"phase": 7}\n{"phase": "learning"}\n\xff\xfe\n{"phase": "learning", "step": 9, "success": "x"}\n'
    )
    (tmp_path / "metrics.jsonl").write_bytes(torn + "\n".join(metrics()).encode())
    curve = read_curve(Metrics(tmp_path / "metrics.jsonl").lines())
    assert curve.steps == list(range(1, 31)) and curve.success[-1] == 0.75
    write_report(tmp_path, result(), "")
    assert (tmp_path / "report.html").is_file()


def test_alarms_are_counted_in_one_line(tmp_path: Path) -> None:
    quiet = {**result(), "alarms": {}, "rollbacks": 0}
    loud = {**quiet, "alarms": {"kl_tax": 2, "grad_norm": 1}}
    assert alarm_line(result()) == alarm_line(quiet) == ""
    assert alarm_line(loud) == "Alarms: kl_tax 2, grad_norm 1 (details in metrics.jsonl)"
    line = "Alarms: kl_tax 2, grad_norm 1; rollbacks: 1 (details in metrics.jsonl)"
    assert alarm_line({**loud, "rollbacks": 1}) == line
    write_report(tmp_path, {**loud, "rollbacks": 1}, "")
    assert f"<p>{line}</p>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_report_is_one_page_with_its_picture(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("\n".join(metrics()), encoding="utf-8")
    assert write_report(tmp_path, result(), 'id = "<x>"') == []
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(PNG)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page and "trained, greedy" in page and "0.980" in page
    assert "id = &quot;&lt;x&gt;&quot;" in page and "<b>" not in page
    assert "http" not in page and "<script" not in page and 'src="data:' in page


def test_a_run_without_steps_still_has_a_report(tmp_path: Path) -> None:
    assert write_report(tmp_path, {"env_id": "e", "optimum": None}, "") == []
    assert "unknown" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_without_matplotlib_the_page_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return true_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    notes = write_report(tmp_path, result(), "")
    assert len(notes) == 1 and install_command("plot") in notes[0]
    assert not (tmp_path / "learning_curve.png").exists()
    assert "<img" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_everything_on_the_page_is_escaped(tmp_path: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    write_page(tmp_path / "p.html", title=nasty, rows={nasty: 0.5}, seconds={nasty: 1.0}, config=nasty, picture=None)
    assert nasty not in (tmp_path / "p.html").read_text(encoding="utf-8")
