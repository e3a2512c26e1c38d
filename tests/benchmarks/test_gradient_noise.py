from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from turngym.benchmarks import algorithms
from turngym.benchmarks.algorithms_rows import RESULTS
from turngym.benchmarks.gradient_noise import main, measure, page


def variance(return_E: Tensor, score_EP: Tensor, baseline: float) -> float:
    """The trace of the covariance of (R - b) s."""
    return float(((return_E - baseline)[:, None] * score_EP).var(dim=0).sum())


def test_the_best_baseline_has_the_least_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    solved_E = torch.rand(40, generator=generator) < 0.6
    return_E = solved_E.float() * 0.8 + 0.1
    score_EP = torch.randn(40, 7, generator=generator) * torch.where(solved_E, 1.0, 3.0)[:, None]
    noise = measure(return_E, solved_E, score_EP.unbind())
    mean = float(return_E.mean())
    assert noise.mean_return == pytest.approx(mean)
    assert noise.length_ratio == pytest.approx(
        float(score_EP[~solved_E].square().sum(1).mean() / score_EP[solved_E].square().sum(1).mean())
    )
    assert noise.at_zero == pytest.approx(variance(return_E, score_EP, 0.0) / variance(return_E, score_EP, mean))
    at_best = variance(return_E, score_EP, noise.best_baseline)
    assert noise.at_best == pytest.approx(at_best / variance(return_E, score_EP, mean), rel=1e-4)
    # Failures with long scores pull it below the mean return, and moving away from it makes the second moment larger.
    assert noise.best_baseline < mean

    def moment(baseline: float) -> float:
        return float(((return_E - baseline)[:, None] * score_EP).square().sum())

    assert moment(noise.best_baseline) < min(moment(noise.best_baseline + move) for move in (-0.01, 0.01))


@pytest.mark.parametrize("solved", [True, False])
def test_episodes_that_all_end_alike_are_refused(solved: bool) -> None:
    with pytest.raises(ValueError, match=r"of 3 episodes [03] were solved: play more"):
        measure(torch.zeros(3), torch.full((3,), solved), [torch.ones(2)] * 3)


def test_the_committed_page_begins_as_the_code_writes_it() -> None:
    committed = Path(__file__).parents[2] / RESULTS / "gradient_noise.md"
    assert committed.read_text(encoding="utf-8").startswith(page({}))


@pytest.mark.usefixtures("small_lake")
def test_a_base_is_measured(tmp_path: Path) -> None:
    command = ["--folder", str(tmp_path), "--tasks", "FrozenLake", "--seeds", "0", "--episodes", "64",
               "--out", str(tmp_path / "page.md")]  # fmt: skip
    with pytest.raises(ValueError, match=r"no base .*FrozenLake-seed0/base: run `python -m"):
        main(command)
    algorithms.make_base((tmp_path, "FrozenLake", 0, "test"))
    assert main(command) == 0
    cells = (tmp_path / "page.md").read_text().splitlines()[-1].split(" | ")
    length_ratio, mean_return, _, at_zero, at_best = (float(cell.split()[0]) for cell in cells[1:])
    assert cells[0] == "| FrozenLake" and length_ratio > 0 and 0 < mean_return < 1
    assert 0 < at_best <= 1 and at_best <= at_zero
