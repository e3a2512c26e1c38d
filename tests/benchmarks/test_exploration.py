"""The benchmark of exploration: runs from one base, in processes of their own, timed until they succeed."""

from __future__ import annotations

from pathlib import Path

import pytest

from turngym.benchmarks import exploration
from turngym.benchmarks.exploration import Options, Timed, configured, main, results
from turngym.trainers.config import TrainConfig, with_overrides


def tiny(options: Options, seed: int, processes: int) -> TrainConfig:
    """Return a run of seconds: a small model that has learned nothing, on lakes of nine fields."""
    return with_overrides(configured(options, seed, processes), {
        "env": {"kwargs": {"size": 3}}, "warm_start": {"enabled": False},
        "model": {"hidden_size": 32, "layers": 2, "heads": 2}, "values": {"samples": 1, "extra_samples": 0},
        "learning": {"batch_size": 8}, "evaluation": {"validate_every": 1, "validation_episodes": 8},
    })  # fmt: skip


def test_a_tiny_run_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "configured", tiny)
    out = tmp_path / "results" / "exploration.md"
    words = ["--success", "0", "--seeds", "1", "--samples", "1", "--instances", "8", "--steps", "2", "--out"]
    assert main([*words, str(out)]) == 0
    rows = [line.strip("| ").split(" | ") for line in out.read_text().splitlines() if line.startswith("| ")][2:]
    assert [(row[0], row[1], row[4]) for row in rows] == [("0", "1", "1 of 1"), ("1", "1", "1 of 1")]
    assert all(0 < float(row[2]) <= float(row[5]) and 0 < float(row[3]) <= float(row[6]) for row in rows)


def test_runs_that_never_succeed_are_counted_apart() -> None:
    reached = Timed(stage_one=1.0, stage_one_processor=2.0, success=5.0, success_processor=6.0)
    failed = Timed(stage_one=3.0, stage_one_processor=4.0, success=None, success_processor=None)
    assert results({0: [reached, failed], 1: [failed]}).splitlines()[2:] == [
        "| 0 | 2 | 2.0 | 3.0 | 1 of 2 | 5.0 | 6.0 |",
        "| 1 | 1 | 3.0 | 4.0 | 0 of 1 | - | - |",
    ]
