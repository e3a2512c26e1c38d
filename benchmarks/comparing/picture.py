"""Pictures of a comparison: learning curves with bands over seeds, and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from turngym.agents.intervals import student_interval
from turngym.benchmarks.comparing.comparison import Comparison
from turngym.benchmarks.comparing.groups import Group
from turngym.benchmarks.comparing.runs import RunRecord
from turngym.benchmarks.comparing.statistics import performance_profile, profile_band
from turngym.benchmarks.page import empty_figure
from turngym.trainers.reporting.curves import Curve

Axis = Literal["tokens", "steps", "seconds"]
POINTS = 120
"""Places at which the curves of several seeds are averaged."""
THRESHOLDS = 41
"""Points of a performance profile."""
PROFILE_RESAMPLES = 500
"""Bootstrap samples of its band."""
LABELS = {"tokens": "generated tokens, stage 1 included", "steps": "optimizer steps",
          "seconds": "seconds of stages 1 and 2"}  # fmt: skip


def draw_curves(comparison: Comparison, over: Axis, path: Path) -> str:
    """Draw the success of every group over tokens, steps or seconds, with bands over seeds, a field for each task.

    In a task where all runs were validated it is that of validation, elsewhere that of training.

    Returns:
        Why there is nothing to draw; nothing where there is.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    fields = {task: [row.group for row in rows] for task, rows in comparison.tasks.items()}
    fields = {task: groups for task, groups in fields.items()
              if any(mean_curve(group, over, groups) is not None for group in groups)}  # fmt: skip
    path.unlink(missing_ok=True)
    if not fields:
        return f"No curves were drawn: no run has success over {over} in its metrics."
    columns = math.ceil(math.sqrt(len(fields)))
    figure = empty_figure(6.4 * columns, 4.4 * math.ceil(len(fields) / columns), dpi=120)
    for place, (task, groups) in enumerate(fields.items(), start=1):
        axes = figure.add_subplot(math.ceil(len(fields) / columns), columns, place)
        for number, group in enumerate(groups):
            found = mean_curve(group, over, groups)
            if found is not None:
                places, means, halves = found
                axes.plot(places, means, color=f"C{number % 10}", linewidth=1.6,
                          label=f"{group.label} ({len(group.runs)})")  # fmt: skip
                axes.fill_between(places, means - halves, means + halves, color=f"C{number % 10}", alpha=0.15,
                                  linewidth=0)  # fmt: skip
        axes.set(xlabel=LABELS[over], ylabel=f"success in {'validation' if validated(groups) else 'training'}",
                 title=f"{task.env}, {task.version}", ylim=(-0.02, 1.02))  # fmt: skip
        axes.grid(alpha=0.25)
        axes.legend(fontsize="small")
    figure.savefig(path)
    return ""


def draw_profiles(comparison: Comparison, path: Path) -> str:
    """Draw which share of the runs of each label is above a number, with bands by the stratified bootstrap.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    path.unlink(missing_ok=True)
    if not comparison.aggregates:
        return ""
    every = [score for each in comparison.aggregates for task in each.scores for score in task]
    low, high = (min(0.0, *every), max(1.0, *every))
    thresholds = np.linspace(low, high, THRESHOLDS)
    figure = empty_figure(6.4, 4.4, dpi=120)
    axes = figure.add_subplot()
    for number, each in enumerate(comparison.aggregates):
        color, limits = f"C{number % 10}", thresholds.tolist()
        low_band, high_band = profile_band(each.scores, limits, resamples=PROFILE_RESAMPLES)
        axes.plot(
            thresholds, performance_profile(each.scores, limits), color=color, label=f"{each.label} ({each.runs})"
        )
        axes.fill_between(thresholds, low_band, high_band, color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel=f"{comparison.metric} of the trained model, sampled", ylabel="share of the runs above it")
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small")
    figure.savefig(path)
    return ""


def mean_curve(group: Group, over: Axis, groups: Sequence[Group]) -> tuple[Any, Any, Any] | None:
    """Return places, means over the runs of a group, and half the widths of their 95% intervals by Student's t.

    The curves are read between the last beginning and the first end of all runs. One run has intervals of width 0,
    which are none.

    Args:
        group: The runs.
        over: What the places are.
        groups: All groups of the task, which together tell whether validation is drawn.
    """
    read = [points(run, over, validation=validated(groups)) for run in group.runs]
    known = [(xs, ys) for xs, ys in read if len(xs) and all(map(math.isfinite, xs))]
    if not known:
        return None
    low, high = max(xs[0] for xs, _ in known), min(xs[-1] for xs, _ in known)
    if low > high:
        return None
    places = np.linspace(low, high, POINTS)
    values = np.stack([np.interp(places, xs, ys) for xs, ys in known])
    intervals = [student_interval(column.tolist()) for column in values.T]
    halves = np.nan_to_num(np.array([half for _, half in intervals]))
    return places, np.array([mean for mean, _ in intervals]), halves


def points(run: RunRecord, over: Axis, *, validation: bool) -> tuple[list[float], list[float]]:
    """Return the places and the values of a run's curve; success in training is averaged over the last steps."""
    curve: Curve = run.validation if validation else run.training
    places = {"tokens": curve.tokens, "steps": [float(step) for step in curve.steps], "seconds": curve.seconds}[over]
    return places, curve.success if validation else curve.smoothed()


def validated(groups: Sequence[Group]) -> bool:
    """Return whether all runs of some groups were validated on the way."""
    return all(run.validation.steps for group in groups for run in group.runs)
