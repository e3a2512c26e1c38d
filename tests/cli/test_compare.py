"""`compare`: what it prints, keeps and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.benchmarks.comparing.written_runs import write_run

from turngym.cli import main


def test_runs_are_compared_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for algorithm in ("grpo", "rloo"):
        for seed in (0, 1):
            write_run(tmp_path / "s" / f"{algorithm}-seed{seed}", [20, 30, 50, 60 + seed, 70], algorithm=algorithm,
                      seed=seed, base=f"{seed}")  # fmt: skip
    words = [
        "compare",
        str(tmp_path / "s"),
        "--out",
        str(tmp_path / "out"),
        "--reference",
        "rloo",
        "--metric",
        "return",
    ]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "grpo minus rloo +0.000 ± 0.000 paired, 2 seeds" in printed.out
    assert "95% intervals by Student's t over runs" in printed.out and "compare.csv" in printed.out
    assert f"    turngym {' '.join(words)}\n" in (tmp_path / "out" / "compare.md").read_text()
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["metric"] == "return"


def test_runs_that_go_on_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a", [20, 30, 50, 60, 70])
    write_run(tmp_path / "b", [], seed=1, done=False)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert f"Not complete: {tmp_path / 'b'}: 0 of 150 steps are saved; go on with" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "b")]) == 1
    assert "no run is complete" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "compare needs RUN"),
        (["absent"], "absent holds no run"),
        (["a", "--metric", "luck"], "--metric takes one of success, score, return, not 'luck'"),
        (["a", "--reference", "grpo"], "no run is of the reference 'grpo'; did you mean 'astarpo'?"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("a"), [20, 30, 50, 60, 70])
    assert main(["compare", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and said in captured.err
