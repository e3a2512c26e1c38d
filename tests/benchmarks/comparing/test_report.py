"""Pages, figures and pictures of a comparison."""

from __future__ import annotations

import builtins
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.benchmarks.comparing.written_runs import write_run

from turngym.agents.intervals import student_interval
from turngym.benchmarks.comparing import compare, sections, sentences, write_files
from turngym.benchmarks.comparing.picture import mean_curve
from turngym.extras import install_command


def write_runs(root: Path, *, validation: bool = False) -> Path:
    for algorithm in ("astarpo", "grpo"):
        for seed in (0, 1):
            write_run(root / f"{algorithm}-seed{seed}", [20, 30, 50, 60 + seed, 70], algorithm=algorithm, seed=seed,
                      base=f"{seed}", validation=validation)  # fmt: skip
    write_run(root / "astarpo-seed2", [], seed=2, done=False)
    return root


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_comparison_is_kept_in_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "deep" / "out"
    comparison = compare([write_runs(tmp_path / "runs")])
    assert write_files(comparison, out, "turngym compare runs", "tokens") == []
    page = (out / "compare.md").read_text()
    assert "    turngym compare runs\n" in page and "| grpo minus astarpo | +0.000 ± 0.000 | paired, 2 seeds |" in page
    assert "* Not complete: " in page and "random 0.200, optimum 0.800" in page
    assert "| astarpo-seed1 | astarpo | 1 | 100 | 96 | 0.300 [0.219, 0.396] | 0.610 [0.512, 0.700] |" in page
    groups = rows(out / "compare.csv")
    assert [(row["algorithm"], row["seeds"], row["reference"], row["pairs"]) for row in groups] == [
        ("astarpo", "0 1", "", ""), ("grpo", "0 1", "astarpo", "2"),
    ]  # fmt: skip
    assert [row["trained_sampled_success"] for row in rows(out / "runs.csv")] == ["0.6", "0.61"] * 2
    kept = json.loads((out / "compare.json").read_text())
    assert kept["differences"][0]["pairs"] == 2 and kept["incomplete"][0]["folder"].endswith("astarpo-seed2")
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG") and not (out / "profiles.png").exists()
    assert "![curves](curves.png)" in page


def test_without_matplotlib_the_tables_still_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    (note,) = write_files(compare([write_runs(tmp_path / "runs")]), tmp_path / "out", "turngym compare", "steps")
    assert install_command("plot") in note
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "compare.md",
        "compare.csv",
        "runs.csv",
        "compare.json",
    }


def test_every_table_has_as_many_cells_as_columns(tmp_path: Path) -> None:
    comparison = compare([write_runs(tmp_path)])
    tables = list(sections(comparison))
    assert [table.title.partition(" ")[0] for table in tables] == ["FrozenLake-v0,", "Differences", "Interquartile"][:2]
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert len(sentences(comparison)) == 1


def test_curves_are_means_over_seeds(tmp_path: Path) -> None:
    """The success in training of seed s at step t is (s + t) / 20, drawn as the mean up to there."""
    comparison = compare([write_runs(tmp_path)])
    groups = [row.group for row in comparison.rows]
    found = mean_curve(groups[0], "steps", groups)
    assert found is not None
    places, means, halves = found
    assert (places[0], places[-1]) == (1.0, 5.0)
    assert np.allclose(means, (0.5 + (1 + places) / 2) / 20)
    assert np.allclose(halves, student_interval([0.0, 0.05])[1])
    by_tokens = mean_curve(groups[0], "tokens", groups)
    by_seconds = mean_curve(groups[0], "seconds", groups)
    assert by_tokens is not None and by_seconds is not None
    assert (by_tokens[0][0], by_tokens[0][-1]) == (150.0, 350.0) and (by_seconds[0][0], by_seconds[0][-1]) == (
        6.0,
        22.0,
    )


def test_curves_are_of_validation_where_all_runs_have_it(tmp_path: Path) -> None:
    groups = [row.group for row in compare([write_runs(tmp_path, validation=True)]).rows]
    found = mean_curve(groups[0], "steps", groups)
    assert found is not None and np.allclose(found[1], found[0] / 10) and np.allclose(found[2], 0.0)


def test_profiles_are_drawn_of_enough_runs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for seed in range(4):
        write_run(tmp_path / "runs" / f"{seed}", [20, 30, 50, 60 + seed, 70], seed=seed)
    write_files(compare([tmp_path / "runs"]), tmp_path / "out", "turngym compare runs", "seconds")
    assert (tmp_path / "out" / "profiles.png").read_bytes().startswith(b"\x89PNG")
    assert "## Interquartile means over FrozenLake-v0" in (tmp_path / "out" / "compare.md").read_text()
