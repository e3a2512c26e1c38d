"""What few samples cost V*: the bias of the log-mean-exp of K returns, and whether its bracket still holds V*.

V* of a lake is computed exactly, by soft value iteration under the reference of `optimism`, an oracle that makes
mistakes. A return is 1 or 0, so K returns are K tosses of the reference's own success, and the expected bias is a sum
over the number of successes. Beside it the bracket of stage 1 is formed from drawn returns.

Shapes: L lakes, K samples of one lake, S cells, A moves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from turngym.agents.intervals import student_interval
from turngym.benchmarks.algorithms_rows import shown
from turngym.benchmarks.failure_modes.rows import measured
from turngym.benchmarks.optimism import Lake
from turngym.benchmarks.page import table
from turngym.trainers.stage_one.estimators import Floats, log_mean_exp
from turngym.trainers.stage_one.variance import bracket

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAKES = 96
SLIPS = (0.0, 0.2)
"""Probabilities that a move goes astray: a game of skill, and one of skill and chance."""
BETAS = (0.05, 0.2, 0.5)
SAMPLES = (1, 2, 4, 8, 16, 32)
SEED_COUNT = 20
"""Of the drawn returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """V* from K drawn returns of each lake; means over the lakes."""

    slip: float
    """Probability that a move goes astray."""
    beta: float
    """Temperature of V*."""
    samples: int
    """Returns of each lake, K."""
    seed: int
    """Of the drawn returns."""
    value: float
    """V*, exact."""
    entropic: float
    """V^E, exact: what log-mean-exp tends to."""
    expected: float
    """Expected log-mean-exp of K returns, exact."""
    upper: float
    """Log-mean-exp of the drawn returns: the upper end of the bracket."""
    lower: float
    """Their mean: its lower end."""
    below: float
    """Share of the lakes whose V* lies above the bracket, so that both ends are too low."""
    above: float
    """Share of the lakes whose V* lies below the bracket."""


def soft_value(lake: Lake, beta: float) -> float:
    """Return V* of the start of a lake, `beta log sum_a ref(a) exp(Q / beta)` from the last turn back."""
    value_S = np.zeros(len(lake.end_S))
    for reference_SA in lake.reference_HSA[::-1]:
        scaled_SA = lake.dynamics.move_values(value_S) / beta
        value_S = beta * np.logaddexp.reduce(np.log(reference_SA) + scaled_SA, axis=-1)
        value_S[lake.end_S] = 0.0
    return float(value_S[lake.start])


def entropic_value(success: float, beta: float) -> float:
    """Return `beta log E[exp(R / beta)]` of a return that is 1 with this probability and 0 otherwise."""
    return float(1.0 + beta * np.log(success + (1.0 - success) * np.exp(-1.0 / beta)))


def expected_estimate(success: float, samples: int, beta: float) -> float:
    """Return the expected log-mean-exp of some returns that are 1 with this probability and 0 otherwise."""
    estimates = [log_mean_exp([1.0] * won + [0.0] * (samples - won), beta) for won in range(samples + 1)]
    odds = [comb(samples, won) * success**won * (1.0 - success) ** (samples - won) for won in range(samples + 1)]
    return float(np.dot(odds, estimates))


class Exact(NamedTuple):
    """What is known of the lakes of a slip at a temperature."""

    success_L: Floats
    """Success of the reference."""
    value_L: Floats
    """V*."""
    entropic: float
    """V^E, a mean over the lakes."""


@cache
def exact(slip: float, beta: float) -> Exact:
    """Compute the exact values of the lakes."""
    lakes = lakes_of(slip)
    success_L = [lake.success(lake.reference_HSA) for lake in lakes]
    return Exact(np.array(success_L), np.array([soft_value(lake, beta) for lake in lakes]),
                 fmean(entropic_value(success, beta) for success in success_L))  # fmt: skip


@cache
def lakes_of(slip: float) -> tuple[Lake, ...]:
    """Return the lakes of a slip."""
    return tuple(Lake(slip, "train", index) for index in range(LAKES))


@cache
def expected(slip: float, beta: float, samples: int) -> float:
    """Return the expected log-mean-exp of some returns, a mean over the lakes."""
    return fmean(expected_estimate(success, samples, beta) for success in exact(slip, beta).success_L.tolist())


def measure(slip: float, beta: float, samples: int, seed: int) -> SampleRow:
    """Draw returns, and set their bracket beside the exact values."""
    success_L, value_L, entropic = exact(slip, beta)
    rng = np.random.default_rng([seed, samples])
    return_LK = (rng.random((LAKES, samples)) < success_L[:, None]).astype(np.float64)
    lower_L, upper_L = bracket(dict(enumerate(return_LK.tolist())), beta)
    return SampleRow(
        slip=slip, beta=beta, samples=samples, seed=seed, value=float(value_L.mean()), entropic=entropic,
        expected=expected(slip, beta, samples), upper=float(upper_L.mean()), lower=float(lower_L.mean()),
        below=float((value_L > upper_L).mean()), above=float((value_L < lower_L).mean()),
    )  # fmt: skip


def key(row: SampleRow) -> tuple[float, float, int, int]:
    """Return what a row is known by."""
    return row.slip, row.beta, row.samples, row.seed


def rows_of(path: Path, seeds: int) -> list[SampleRow]:
    """Return the rows of so many seeds, measured as far as the file does not hold them."""
    wanted = itertools.product(SLIPS, BETAS, SAMPLES, range(seeds))
    return measured(path, SampleRow, wanted, lambda one: [measure(*one)], key)


# The page ------------------------------------------------------------------------------------------------------------

HEAD = f"""# Few samples of V\\*

    python -m turngym.benchmarks.failure_modes samples

The estimate of stage 1, the log-mean-exp of K returns of the reference, less the exact V\\*: means over {LAKES} lakes.
The reference is the oracle with mistakes of [Optimism](optimism.md). "Expected" is exact; "upper" (the same estimate)
and "lower" (the mean) are the ends of the bracket from drawn returns, with 95% intervals over seeds. Misses are the
shares of single lakes whose V\\* lies above the upper end or below the lower.

![Bias over the number of samples](failure_modes_samples.png)
"""
COLUMNS = ("slip", "beta", "V\\*", "V^E", "K", "expected", "upper", "lower", "above the upper", "below the lower")


def by_setting(rows: Iterable[SampleRow]) -> dict[tuple[float, float, int], list[SampleRow]]:
    """Return the rows of each slip, temperature and number of samples."""
    groups: dict[tuple[float, float, int], list[SampleRow]] = {}
    for row in rows:
        groups.setdefault((row.slip, row.beta, row.samples), []).append(row)
    return groups


def page(rows: Sequence[SampleRow]) -> str:
    """Return the whole page."""
    lines = []
    for (slip, beta, samples), group in by_setting(rows).items():
        some = group[0]
        lines.append([
            f"{slip:g}", f"{beta:g}", f"{some.value:.3f}", f"{some.entropic:.3f}", str(samples),
            f"{some.expected - some.value:+.3f}",
            shown(*student_interval([row.upper - row.value for row in group]), sign=True),
            shown(*student_interval([row.lower - row.value for row in group]), sign=True),
            f"{fmean(row.below for row in group):.3f}", f"{fmean(row.above for row in group):.3f}",
        ])  # fmt: skip
    return f"{HEAD}\n{table(COLUMNS, lines)}\n"


def draw(figure: Figure, rows: Sequence[SampleRow]) -> None:
    """Draw the bias of both ends of the bracket over the number of samples, a panel for each slip."""
    groups = by_setting(rows)
    slips = list(dict.fromkeys(row.slip for row in rows))
    panels = figure.subplots(1, len(slips), sharey=True, squeeze=False)[0]
    for axes, slip in zip(panels, slips, strict=True):
        for number, beta in enumerate(dict.fromkeys(row.beta for row in rows)):
            those = {samples: group for (at, of, samples), group in groups.items() if (at, of) == (slip, beta)}
            expected = [group[0].expected - group[0].value for group in those.values()]
            lower = [fmean(row.lower - row.value for row in group) for group in those.values()]
            axes.plot(list(those), expected, marker="o", color=f"C{number}", label=f"upper end, beta {beta:g}")
            axes.plot(list(those), lower, linestyle=":", color=f"C{number}", label=f"lower end, beta {beta:g}")
        axes.axhline(0.0, color="black", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(SAMPLES), [str(samples) for samples in SAMPLES])
        axes.set_xlabel("returns of each instance, K")
        axes.set_title(f"slip {slip:g}", fontsize=10)
    panels[0].set_ylabel("estimate less V*")
    lines, words = panels[0].get_legend_handles_labels()
    figure.legend(lines, words, fontsize=8, ncols=3, loc="outside lower center", frameon=False)
