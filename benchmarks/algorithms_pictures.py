"""Pictures of the comparison of objectives: success over the slip of the ice, and over the tokens of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from turngym.agents.intervals import student_interval
from turngym.benchmarks.algorithm_tasks import COMPARED, LAKES, SUBJECT, TASKS
from turngym.benchmarks.algorithms_rows import Row, by_seed, present, share_of_optimum
from turngym.benchmarks.page import empty_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SWEEP = (SUBJECT, "V* by soft value iteration, lambda 0", "V* by log-mean-exp, lambda 0", "awr", "rloo", "grpo",
         "gigpo", "ppo")  # fmt: skip
"""What is drawn over the slip of the ice."""


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Draw the pictures of the page.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    for name, size, fill in (("slip", (7.0, 4.2), draw_sweep), ("curves", (11.0, 6.4), draw_curves)):
        figure = empty_figure(*size)
        fill(figure, rows)
        figure.savefig(folder / f"algorithms_{name}.png", dpi=130)


def draw_sweep(figure: Figure, rows: Sequence[Row]) -> None:
    """Draw how far some algorithms came over the slip of the ice."""
    axes = figure.add_subplot()
    for place, name in enumerate(SWEEP):
        points = [(TASKS[lake].slip or 0.0, *student_interval(shares)) for lake in LAKES
                  if (shares := share_of_optimum(rows, lake, name))]  # fmt: skip
        if points:
            shifted = [slip + 0.004 * (place - len(SWEEP) / 2) for slip, _, _ in points]
            errors = [0.0 if math.isnan(half) else half for _, _, half in points]
            axes.errorbar(shifted, [mean for _, mean, _ in points], yerr=errors, capsize=2, marker="o",
                          linewidth=2.4 if name == SUBJECT else 1.2, label=name)  # fmt: skip
    axes.set_xlabel("probability that a move goes elsewhere")
    axes.set_ylabel("from the base (0) to the optimum (1)")
    axes.axhline(0.0, color="grey", linewidth=0.6)
    axes.legend(fontsize=8)


def draw_curves(figure: Figure, rows: Sequence[Row]) -> None:
    """Draw the success in training over the tokens, a field for each task and one for the legend."""
    tasks = [task for task in TASKS if present(rows, task, list(COMPARED))]
    columns = math.ceil((len(tasks) + 1) / 2)
    lines: dict[str, Any] = {}
    for place, task in enumerate(tasks, start=1):
        axes = figure.add_subplot(2, columns, place)
        for number, name in enumerate(COMPARED):
            curves = [[float(point) for point in row.curve.split()] for row in by_seed(rows, task, name).values()]
            means = [fmean(points) for points in zip(*curves, strict=True)]
            tokens = [TASKS[task].max_tokens * (part + 0.5) / len(means) for part in range(len(means))]
            subject, dashes = name == SUBJECT, "-" if number <= 10 else "--"  # there are ten colours
            (lines[name],) = axes.plot(tokens, means, dashes, color="black" if subject else f"C{number}",
                                       linewidth=2.4 if subject else 1.0, zorder=3 if subject else 2)  # fmt: skip
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("generated tokens")
        axes.set_ylabel("success in training")
    shown_lines = [lines[name] for name in COMPARED if name in lines]
    axes = figure.add_subplot(2, columns, len(tasks) + 1)
    axes.axis("off")
    axes.legend(shown_lines, [name for name in COMPARED if name in lines], fontsize=8, ncols=2, loc="center")
