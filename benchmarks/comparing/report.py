"""A comparison as tables with their sentences, as a page, as figures for other programs, and as files in a folder."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turngym._durable import replacement
from turngym.benchmarks.algorithms_rows import shown
from turngym.benchmarks.comparing.comparison import Comparison, Difference, Estimate, GroupResult
from turngym.benchmarks.comparing.groups import Task
from turngym.benchmarks.comparing.picture import Axis, draw_curves, draw_profiles
from turngym.benchmarks.comparing.runs import RunRecord
from turngym.benchmarks.page import table
from turngym.extras import install_command
from turngym.strict_json import dumps
from turngym.trainers.reporting.tables import cut_cell

HOW = """Means over runs, one run for each seed, with half the width of their 95% intervals by Student's t over runs; a
single run has none. Gain: the trained model less its base, both sampled. Seconds: stages 1 and 2. A paired difference
compares runs that began from the same base; its interval leaves out what the bases differ by. Intervals are not
corrected for how many there are.
"""
IQM = """Interquartile means of the trained model, sampled, over all runs of all tasks, with 95% intervals by the
stratified bootstrap over runs, 2,000 samples (Agarwal et al., arXiv:2108.13264). Of fewer than four runs it is their
mean.
"""
PAGE, FIGURES, RUNS, RECORD = "compare.md", "compare.csv", "runs.csv", "compare.json"
CURVES, PROFILES = "curves.png", "profiles.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table."""

    title: str
    """Its heading."""
    columns: Sequence[str]
    """The names of the columns; the first is of texts, the others of numbers."""
    rows: Sequence[Sequence[str]]
    """The cells."""
    about: str = ""
    """What the numbers are."""


def sections(comparison: Comparison) -> Iterator[Section]:
    """Yield the tables: for every task the groups and the differences, then the aggregates."""
    for task, rows in comparison.tasks.items():
        yield Section(
            title=str(task), columns=("algorithm", "seeds", "base", "trained", "greedy", "gain", "tokens", "seconds"),
            rows=[_row(row) for row in rows], about=_frame(rows),
        )  # fmt: skip
        differences = [each for each in comparison.differences if each.group.task == task]
        if differences:
            yield Section(
                title=f"Differences in {task.env}", columns=("sampled", "difference", "how"),
                rows=[[f"{each.group.label} minus {each.reference.label}", _text(each.difference, sign=True), each.how]
                      for each in differences],
            )  # fmt: skip
    if comparison.aggregates:
        envs = ", ".join(task.env for task in comparison.aggregated)
        yield Section(
            title=f"Interquartile means over {envs}", columns=("algorithm", "runs", "IQM", "95% interval"),
            rows=[[each.label, f"{each.runs}", f"{each.iqm:.3f}", f"[{each.interval[0]:.3f}, {each.interval[1]:.3f}]"]
                  for each in comparison.aggregates],
        )  # fmt: skip


def sentences(comparison: Comparison) -> list[str]:
    """Return what is to be said beside the tables: what was left out or kept apart, and runs that are not complete."""
    return [*comparison.notes, *(f"Not complete: {run.folder}: {run.why}" for run in comparison.incomplete)]


def page(comparison: Comparison, command: str) -> str:
    """Return the comparison as Markdown."""
    parts = [f"# Runs compared\n\n    {command}\n", f"What is compared is the {comparison.metric}. {HOW}"]
    for section in sections(comparison):
        about = f"{section.about}\n\n" if section.about else ""
        parts.append(f"## {section.title}\n\n{about}{table(section.columns, section.rows)}\n")
    if comparison.aggregates:
        parts.append(IQM)
    if notes := sentences(comparison):
        parts.append("## Notes\n\n" + "\n".join(f"* {note}" for note in notes) + "\n")
    if comparison.rows:
        columns = ("run", "algorithm", "seed", "episodes", "instances", "base", "trained", "greedy", "cut %",
                   "warm start, s", "stages 1 and 2, s")  # fmt: skip
        rows = [_run_cells(row, run) for row in comparison.rows for run in row.group.runs]
        parts.append("## Every run\n\nSuccess with its own 95% Wilson interval over instances.\n\n"
                     f"{table(columns, rows)}\n")  # fmt: skip
    return "\n".join(parts)


def figures(comparison: Comparison) -> str:
    """Return a line of CSV for each group."""
    by_group = {(each.group.task, each.group.label): each for each in comparison.differences}
    lines = []
    for row in comparison.rows:
        each = by_group.get((row.group.task, row.group.label))
        lines.append({
            **_task(row.group.task), "algorithm": row.group.algorithm, "settings": row.group.settings,
            "seeds": " ".join(str(run.seed) for run in row.group.runs), "metric": comparison.metric,
            **_pair("base_sampled", row.base_sampled), **_pair("base_greedy", row.base_greedy),
            **_pair("trained_sampled", row.sampled), **_pair("trained_greedy", row.greedy), **_pair("gain", row.gain),
            "tokens": round(row.tokens), "seconds": round(row.seconds, 1), **_difference(each),
        })  # fmt: skip
    return _csv(lines)


def run_figures(comparison: Comparison) -> str:
    """Return a line of CSV for each run."""
    lines = []
    for row in comparison.rows:
        for run in row.group.runs:
            scores = {f"{agent}_{name}": value for agent, score in run.scores.items()
                      for name, value in (("success", score.rate), ("return", score.mean_return))}  # fmt: skip
            lines.append({**_run(run, row), **scores})
    return _csv(lines)


def record(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison for JSON."""
    return {
        "metric": comparison.metric,
        "reference": comparison.reference,
        "groups": [
            {**_task(row.group.task), "algorithm": row.group.algorithm, "settings": row.group.settings,
             "runs": [{**_run(run, row), "scores": {agent: score.to_dict() for agent, score in run.scores.items()}}
                      for run in row.group.runs],
             **{name: _estimate(getattr(row, name))
                for name in ("base_sampled", "base_greedy", "sampled", "greedy", "gain")},
             "tokens": row.tokens, "seconds": row.seconds}
            for row in comparison.rows
        ],
        "differences": [
            {**_task(each.group.task), "group": each.group.label, "reference": each.reference.label,
             **_estimate(each.difference), "pairs": each.pairs}
            for each in comparison.differences
        ],
        "aggregates": [
            {"label": each.label, "iqm": each.iqm, "interval": each.interval, "scores": each.scores}
            for each in comparison.aggregates
        ],
        "aggregated": [_task(task) for task in comparison.aggregated],
        "incomplete": [{"folder": run.folder, "why": run.why} for run in comparison.incomplete],
        "notes": comparison.notes,
    }  # fmt: skip


def write_files(comparison: Comparison, folder: Path, command: str, over: Axis) -> list[str]:
    """Write page, figures and pictures into a folder.

    Returns:
        Sentences on what could not be drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {PAGE: page(comparison, command), FIGURES: figures(comparison), RUNS: run_figures(comparison),
             RECORD: dumps(record(comparison), indent=1) + "\n"}  # fmt: skip
    try:
        pictures = [draw_curves(comparison, over, folder / CURVES), draw_profiles(comparison, folder / PROFILES)]
        notes = [note for note in pictures if note]
    except ModuleNotFoundError:
        notes = [f"No curves were drawn: install matplotlib with: {install_command('plot')}"]
    for name in (CURVES, PROFILES):
        if (folder / name).is_file():
            texts[PAGE] += f"\n![{name.removesuffix('.png')}]({name})\n"
    for name, text in texts.items():
        with replacement(folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return notes


# Cells --------------------------------------------------------------------------------------------------------------


def _text(value: Estimate, *, sign: bool = False) -> str:
    return shown(value.mean, value.half, sign=sign)


def _row(row: GroupResult) -> list[str]:
    return [row.group.label, f"{len(row.group.runs)}", _text(row.base_sampled), _text(row.sampled), _text(row.greedy),
            _text(row.gain, sign=True), f"{row.tokens:,.0f}", f"{row.seconds:,.0f}"]  # fmt: skip


def _frame(rows: Sequence[GroupResult]) -> str:
    """Return what the success of a task lies between, and how greedy the bases are."""
    runs = [run for row in rows for run in row.group.runs]
    floors = sorted({f"{run.scores['random'].rate:.3f}" for run in runs if "random" in run.scores})
    optima = sorted({f"{run.optimum:.3f}" for run in runs if run.optimum is not None})
    parts = [f"{name} {' to '.join(dict.fromkeys((values[0], values[-1])))}"
             for name, values in (("random", floors), ("optimum", optima)) if values]  # fmt: skip
    return f"Success: {', '.join(parts)}." if parts else ""


def _run_cells(row: GroupResult, run: RunRecord) -> list[str]:
    cells = []
    for agent in ("base_sampled", "trained_sampled", "trained_greedy"):
        score = run.scores[agent]
        cells.append(f"{score.rate:.3f} [{score.interval[0]:.3f}, {score.interval[1]:.3f}]")
    trained = run.scores["trained_sampled"]
    return [run.folder.name, row.group.label, f"{run.seed}", f"{trained.episodes}",
            "?" if trained.instances is None else f"{trained.instances}", *cells, cut_cell(trained),
            f"{run.seconds['warm_start']:.0f}", f"{run.seconds['values'] + run.seconds['learning']:.0f}"]  # fmt: skip


def _task(task: Task) -> dict[str, Any]:
    return {"env": task.env, "first_instance": task.first, "episodes": task.episodes, "version": task.version}


def _run(run: RunRecord, row: GroupResult) -> dict[str, Any]:
    return {"run": str(run.folder), **_task(row.group.task), "algorithm": row.group.algorithm,
            "settings": row.group.settings, "seed": run.seed, "base": run.base or "", "tokens": run.tokens,
            **{f"{phase}_seconds": round(value, 1) for phase, value in run.seconds.items()},
            "optimum": run.optimum}  # fmt: skip


def _estimate(value: Estimate) -> dict[str, float | None]:
    return {"mean": value.mean, "half": None if math.isnan(value.half) else value.half}


def _pair(name: str, value: Estimate) -> dict[str, str]:
    return {name: f"{value.mean:.6f}", f"{name}_half": "" if math.isnan(value.half) else f"{value.half:.6f}"}


def _difference(each: Difference | None) -> dict[str, str]:
    if each is None:
        return {"reference": "", "difference": "", "difference_half": "", "pairs": ""}
    return {"reference": each.reference.label, **_pair("difference", each.difference), "pairs": f"{each.pairs}"}


def _csv(lines: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    columns = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()
