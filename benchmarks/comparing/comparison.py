"""What runs came to: means over seeds, gains over the base, differences to a reference, aggregates over tasks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from turngym._errors import InputError
from turngym.agents.evaluation import Score
from turngym.agents.intervals import student_interval, welch_interval
from turngym.benchmarks.comparing.groups import Group, Task, grouped
from turngym.benchmarks.comparing.runs import Incomplete, RunRecord, read_runs, return_bounds, run_folders
from turngym.benchmarks.comparing.statistics import bootstrap_interval, interquartile_mean, pooled_interquartile_mean
from turngym.names import nearest
from turngym.trainers.config import algorithm_names

Metric = Literal["success", "score", "return"]
FEWEST = 4
"""Runs of one label from which on something is left out of an interquartile mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over runs."""

    mean: float
    """The mean."""
    half: float
    """Half the width of its 95% interval; nan where there is one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """A row of the table of a task."""

    group: Group
    """The runs."""
    base_sampled: Estimate
    """The base, sampled."""
    base_greedy: Estimate
    """The base, greedy."""
    sampled: Estimate
    """The trained model, sampled."""
    greedy: Estimate
    """The trained model, greedy."""
    gain: Estimate
    """How much more the trained model is worth than its base, both sampled: a mean of the gains of the runs."""
    tokens: float
    """Generated tokens of a run, stage 1 included; the mean."""
    seconds: float
    """Seconds of a run, warm start and measurement not included; the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much more a group reaches than the reference, sampled."""

    group: Group
    """The group."""
    reference: Group
    """What it is compared with."""
    difference: Estimate
    """Its lead."""
    pairs: int
    """How many seeds with the same base both have, by which the difference is paired; 0 where it is not."""

    @property
    def how(self) -> str:
        """How the interval was computed."""
        if self.pairs:
            most = max(len(self.group.runs), len(self.reference.runs))
            of = "" if self.pairs == most else f" of {most}"
            return f"paired, {self.pairs}{of} seed{'s' if most > 1 else ''}"
        return "unpaired: no base is shared"

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.difference.mean) > self.difference.half


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What a label came to over several runs and tasks."""

    label: str
    """Algorithm and settings."""
    scores: tuple[tuple[float, ...], ...]
    """What the trained model reaches sampled, by task and run."""
    iqm: float
    """Interquartile mean."""
    interval: tuple[float, float]
    """Its 95% interval by the stratified bootstrap."""

    @property
    def runs(self) -> int:
        """How many runs."""
        return sum(map(len, self.scores))


@dataclass(slots=True, kw_only=True)
class Comparison:
    """All that is to be said of some runs."""

    metric: Metric
    """What is compared."""
    reference: str = ""
    """The label or algorithm that the others are compared with; empty where nothing is."""
    rows: list[GroupResult] = field(default_factory=list)
    """By task, algorithm and settings."""
    differences: list[Difference] = field(default_factory=list)
    """In the same order, without the reference."""
    aggregates: list[Aggregate] = field(default_factory=list)
    """By label; empty where there are too few runs, or nothing that could be compared."""
    aggregated: list[Task] = field(default_factory=list)
    """The tasks of the aggregates."""
    incomplete: list[Incomplete] = field(default_factory=list)
    """Runs that are not in it."""
    notes: list[str] = field(default_factory=list)
    """Sentences on what was kept apart, left out, or differs."""

    @property
    def tasks(self) -> dict[Task, list[GroupResult]]:
        """The rows of every task."""
        found: dict[Task, list[GroupResult]] = defaultdict(list)
        for row in self.rows:
            found[row.group.task].append(row)
        return dict(found)


def compare(folders: Sequence[Path], metric: Metric = "success", reference: str = "") -> Comparison:
    """Compare runs.

    Args:
        folders: Run folders, and folders that hold run folders.
        metric: "success" is the share of the test instances that were solved, "return" the mean return of the task,
            "score" the return as a share of the way from the least to the largest that the environment pays.
        reference: The algorithm, or the label of a group, that the others are compared with; empty for the first of
            `algorithm_names` that is there.

    Raises:
        InputError: A folder holds no run, or the reference is not among the runs.
    """
    runs, incomplete = read_runs(run_folders(folders))
    return compare_runs(runs, metric, reference, incomplete)


def compare_runs(
    runs: Sequence[RunRecord], metric: Metric = "success", reference: str = "", incomplete: Sequence[Incomplete] = ()
) -> Comparison:
    """Compare runs that were read, as `compare`."""
    found = grouped(runs)
    chosen = chosen_reference(found.groups, reference)
    comparison = Comparison(metric=metric, reference=chosen, incomplete=list(incomplete), notes=found.notes)
    comparison.rows = [result_of(group, metric) for group in found.groups]
    for groups in found.tasks.values():
        for group in groups:
            other = reference_of(group, groups, chosen)
            if isinstance(other, str):
                comparison.notes.append(other)
            elif other is not None:
                comparison.differences.append(difference(group, other, metric))
    aggregate(comparison, found.groups)
    return comparison


def value_of(score: Score, run: RunRecord, metric: Metric) -> float:
    """Return a score in the unit of a metric."""
    if metric == "success":
        return score.rate
    if metric == "return":
        return score.mean_return
    low, high = return_bounds(run.config)
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise InputError(f"{run.env} declares no finite range of returns, so there is no score: take --metric success "
                         "or --metric return")  # fmt: skip
    return (score.mean_return - low) / (high - low)


def values_of(group: Group, agent: str, metric: Metric) -> list[float]:
    """Return what an agent of every run reaches, in order of the seeds."""
    return [value_of(run.scores[agent], run, metric) for run in group.runs]


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one value for each seed with its interval by Student's t."""
    mean, half = student_interval(values)
    return Estimate(mean=mean, half=half)


def result_of(group: Group, metric: Metric) -> GroupResult:
    """Return the row of a group."""
    values = {agent: values_of(group, agent, metric)
              for agent in ("base_sampled", "base_greedy", "trained_sampled", "trained_greedy")}  # fmt: skip
    gains = [after - before for before, after in zip(values["base_sampled"], values["trained_sampled"], strict=True)]
    return GroupResult(
        group=group, base_sampled=estimate(values["base_sampled"]), base_greedy=estimate(values["base_greedy"]),
        sampled=estimate(values["trained_sampled"]), greedy=estimate(values["trained_greedy"]), gain=estimate(gains),
        tokens=fmean(run.tokens for run in group.runs),
        seconds=fmean(run.seconds["values"] + run.seconds["learning"] for run in group.runs),
    )  # fmt: skip


# Differences --------------------------------------------------------------------------------------------------------


def chosen_reference(groups: Sequence[Group], wanted: str) -> str:
    """Return the reference: what is wanted, or the first algorithm in the order of `algorithm_names`.

    Raises:
        InputError: No run is of what is wanted.
    """
    labels = {group.label for group in groups} | {group.algorithm for group in groups}
    if wanted and wanted not in labels:
        raise InputError(f"no run is of the reference {wanted!r}{nearest(wanted, sorted(labels))}")
    present = {group.algorithm for group in groups}
    return wanted or next((name for name in algorithm_names() if name in present), min(present, default=""))


def reference_of(group: Group, groups: Sequence[Group], reference: str) -> Group | str | None:
    """Return what a group of a task is compared with; None for the reference itself, a sentence where it is unclear.

    Of several groups of the reference's algorithm it is the one with the same settings.
    """
    named = [each for each in groups if each.label == reference]
    named = named or [each for each in groups if each.algorithm == reference]
    alike = [each for each in named if each.settings == group.settings]
    if group in named:
        return None
    if not named:
        return f"{group.label} is compared with nothing in {group.task.env}: {reference} has no run there."
    if len(named) > 1 and not alike:
        return (f"{group.label} is compared with nothing in {group.task.env}: name one of "
                f"{', '.join(repr(each.label) for each in named)} with --reference.")  # fmt: skip
    return (alike or named)[0]


def difference(group: Group, reference: Group, metric: Metric) -> Difference:
    """Return how much more a group reaches than the reference, sampled.

    Runs of one seed with the same base are pairs, whose differences have the chance of the base in common. The
    difference is paired where there are at least two pairs, or as many as the smaller group has runs; all else is left
    out of it then.
    """
    own, others = ({run.seed: run for run in each.runs} for each in (group, reference))
    pairs = [(own[seed], others[seed]) for seed in sorted(own.keys() & others.keys())
             if own[seed].base is not None and own[seed].base == others[seed].base]  # fmt: skip
    if pairs and len(pairs) >= min(2, len(own), len(others)):
        leads = [value_of(one.scores["trained_sampled"], one, metric)
                 - value_of(other.scores["trained_sampled"], other, metric) for one, other in pairs]  # fmt: skip
        return Difference(group=group, reference=reference, difference=estimate(leads), pairs=len(pairs))
    mean, half = welch_interval(values_of(group, "trained_sampled", metric),
                                values_of(reference, "trained_sampled", metric))  # fmt: skip
    return Difference(group=group, reference=reference, difference=Estimate(mean=mean, half=half), pairs=0)


# Aggregates ---------------------------------------------------------------------------------------------------------


def aggregate(comparison: Comparison, groups: Sequence[Group]) -> None:
    """Add interquartile means over the tasks that every label has runs of, or the reason why there are none."""
    by_label: dict[str, dict[Task, Group]] = defaultdict(dict)
    for group in groups:
        by_label[group.label][group.task] = group
    shared = set.intersection(*(set(of_label) for of_label in by_label.values())) if by_label else set()
    common = sorted(shared)
    most = max((sum(len(of_label[task].runs) for task in common) for of_label in by_label.values()), default=0)
    if groups and not common:
        comparison.notes.append("There is no interquartile mean: no task has runs of everything that is compared.")
    if most < FEWEST:
        return
    if comparison.metric == "return" and len({task.env for task in common}) > 1:
        comparison.notes.append("There is no interquartile mean of returns, which have no common scale over "
                                "environments: take --metric success or score.")  # fmt: skip
        return
    left = sorted({group.task.env for group in groups if group.task not in shared})
    if left:
        comparison.notes.append(f"Interquartile means leave out {', '.join(left)}, of which not everything that is "
                                "compared has runs.")  # fmt: skip
    comparison.aggregated = common
    for label, of_label in sorted(by_label.items()):
        scores = [values_of(of_label[task], "trained_sampled", comparison.metric) for task in common]
        comparison.aggregates.append(Aggregate(
            label=label, scores=tuple(map(tuple, scores)),
            iqm=interquartile_mean([score for task in scores for score in task]),
            interval=bootstrap_interval(scores, pooled_interquartile_mean),
        ))  # fmt: skip
