from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from turngym.benchmarks.algorithms_rows import RESULTS
from turngym.benchmarks.failure_modes import samples
from turngym.benchmarks.failure_modes.__main__ import main
from turngym.benchmarks.failure_modes.samples import (
    SampleRow,
    entropic_value,
    expected_estimate,
    page,
    soft_value,
)
from turngym.benchmarks.optimism import Lake
from turngym.benchmarks.page import read_rows
from turngym.trainers.stage_one.estimators import log_mean_exp

COMMITTED = Path(__file__).parents[3] / RESULTS


def test_without_chance_the_exact_value_is_the_entropic_one() -> None:
    for index in range(3):
        skill, chance = Lake(0.0, "train", index), Lake(0.2, "train", index)
        for beta in (0.05, 0.5):
            assert soft_value(skill, beta) == pytest.approx(entropic_value(skill.success(skill.reference_HSA), beta))
            mean = chance.success(chance.reference_HSA)
            assert mean < soft_value(chance, beta) < entropic_value(mean, beta)


def test_the_expected_estimate_is_that_of_many_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = (rng.random((4000, 4)) < 0.3).astype(float)
    mean = np.mean([log_mean_exp(returns, 0.2) for returns in drawn])
    assert expected_estimate(0.3, 4, 0.2) == pytest.approx(mean, abs=0.02)
    assert expected_estimate(0.3, 1, 0.2) == pytest.approx(0.3)
    assert expected_estimate(0.3, 400, 0.2) == pytest.approx(entropic_value(0.3, 0.2), abs=0.002)


def test_a_tiny_run_writes_its_page_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    for name, some in (("LAKES", 4), ("SLIPS", (0.0,)), ("BETAS", (0.5,)), ("SAMPLES", (1, 16))):
        monkeypatch.setattr(samples, name, some)
    for cached in (samples.lakes_of, samples.exact, samples.expected):
        cached.cache_clear()
    for seeds in (2, 3):
        assert main(["samples", "--seeds", str(seeds), "--out", str(tmp_path)]) == 0
    for cached in (samples.lakes_of, samples.exact, samples.expected):
        cached.cache_clear()
    rows = read_rows(tmp_path / "failure_modes_samples.csv", SampleRow)
    assert [(row.samples, row.seed) for row in rows] == [(1, 0), (1, 1), (16, 0), (16, 1), (1, 2), (16, 2)]
    assert all(row.lower == row.upper for row in rows if row.samples == 1)
    assert rows[0].expected < rows[2].expected < rows[0].value == rows[0].entropic
    assert page(rows) == (tmp_path / "failure_modes_samples.md").read_text()
    assert (tmp_path / "failure_modes_samples.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_is_what_the_committed_rows_say() -> None:
    rows = read_rows(COMMITTED / "failure_modes_samples.csv", SampleRow)
    assert page(rows) == (COMMITTED / "failure_modes_samples.md").read_text(encoding="utf-8")
