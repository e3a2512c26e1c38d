"""The picture of the table: success of every agent at every stand, with its interval, beside what can be reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from turngym.benchmarks.cells import SCRIPTED
from turngym.benchmarks.page import empty_figure
from turngym.benchmarks.webshop.rows import ShopRow, by_stand, ceilings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 2
"""Panels side by side."""
LINES = {"oracle": "the oracle, which knows the product", "reader": "the best script that reads visible text alone"}
"""What the dotted lines are."""


def draw(rows: Sequence[ShopRow], path: Path) -> None:
    """Draw a panel for each stand.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    stands = list(by_stand(rows).values())
    columns = min(COLUMNS, max(len(stands), 1))
    lines = math.ceil(len(stands) / columns)
    most = max(map(len, stands), default=1)
    figure = empty_figure(5.6 * columns, (0.9 + 0.34 * most) * max(lines, 1))
    for place, stand in enumerate(stands, start=1):
        fill(figure.add_subplot(lines, columns, place), stand)
    lines_drawn = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    shown = [label for label in LINES.values() if label in lines_drawn]
    if shown:
        figure.legend([lines_drawn[label] for label in shown], shown, fontsize=8, ncols=len(shown),
                      loc="outside lower center", frameon=False)  # fmt: skip
    figure.savefig(path, dpi=130, format="png")


def fill(axes: Axes, rows: Sequence[ShopRow]) -> None:
    """Draw the agents of a stand from top to bottom; dotted lines are what the oracle and a script that reads have."""
    for place, row in enumerate(reversed(rows)):
        color = "#9e9e9e" if row.agent in SCRIPTED else "#08519c"
        axes.barh(place, row.success, color=color, height=0.62)
        axes.plot([row.low, row.high], [place, place], color="black", linewidth=1.2)
        axes.text(1.02, place, f"{row.success:.3f}", va="center", fontsize=8)
    reached = ceilings(rows)[rows[0].catalogue, rows[0].protocol]
    for who, color in (("oracle", "#31a354"), ("reader", "#e6550d")):
        if who in reached:
            axes.axvline(reached[who].success, color=color, linestyle=":", linewidth=1.4, label=LINES[who])
    axes.set_yticks(range(len(rows)), [row.agent for row in reversed(rows)], fontsize=8)
    axes.set_xlim(0.0, 1.12)
    axes.set_title(f"{rows[0].catalogue}, {rows[0].protocol}", fontsize=10)
    axes.set_xlabel("success, 95% over distinct goals", fontsize=8)
    axes.grid(axis="x", alpha=0.25)
