"""Self-play against drawn instances and against a curriculum, from the same bases, at equal generated tokens.

    python -m turngym.benchmarks.selfplay

What is compared is where the instances come from that `astarpo_lambda` learns from, on CountdownSteps and in the
generated shop: drawn anew for every step; with easier levels among them; half of them proposed by the environment's
generator or by the policy itself. The tokens of the proposer count, and so do those of stage 1. Every seed has a base
of its own, a short clone that was also shown how instances are proposed. Runs that the result file holds are passed
over.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import tyro

from turngym.agents.intervals import student_interval
from turngym.benchmarks.algorithm_tasks import SELFPLAY, SELFPLAY_TASKS
from turngym.benchmarks.algorithms import CURVE_POINTS, Job, curve_text, do_all, learned, task_of
from turngym.benchmarks.algorithms_report import frame
from turngym.benchmarks.algorithms_rows import RESULTS, Row, by_seed, paired, present, shown
from turngym.benchmarks.page import empty_figure, kept, read_rows, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "drawn anew"
"""What the others are compared with."""
FOREIGN = {"CountdownSteps, proposed": "curriculum of smaller shops",
           "WebShop, proposed": "curriculum of small numbers"}  # fmt: skip
"""The variant that is of the other task."""
SHARES = ("valid", "solvable", "accepted")
"""What proposals are, of each the share of all."""


@dataclass(frozen=True)
class Options:
    """Compare where instances come from, and write the page."""

    tasks: tuple[str, ...] = tuple(SELFPLAY_TASKS)
    """On which tasks."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each makes a base of its own, which all share."""
    jobs: int = 2
    """Runs at once, of one thread each."""
    folder: Path = Path("runs/selfplay")
    """Where bases are kept."""
    rows: Path = RESULTS / "selfplay.csv"
    """The result file, a line for each run."""
    out: Path = RESULTS / "selfplay.md"
    """The page to write; the picture goes beside it."""
    run: bool = True
    """Whether to do runs that are missing; without, the page is made of those that are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfplayRow(Row):
    """One line of the result file; the shares are means over equal parts of the budget, separated by spaces."""

    valid: str = ""
    """Share of the proposals that are instances of the environment."""
    solvable: str = ""
    """And can be solved."""
    accepted: str = ""
    """And belong to training, are not trivial, and new."""
    learnability: str = ""
    """2 sqrt(p (1 - p) (1 - e)) of the accepted ones, p the success of the player and e the share of chance."""


def run_job(job: Job) -> SelfplayRow:
    """Learn, and measure on held-out instances."""
    row, steps = learned(job)
    budget = task_of(job.task).max_tokens
    valid, solvable, accepted = (curve_text(steps, f"proposals_{name}", budget) for name in SHARES)
    return SelfplayRow(**asdict(row), valid=valid, solvable=solvable, accepted=accepted,
                       learnability=curve_text(steps, "learnability", budget))  # fmt: skip


def jobs_of(options: Options) -> list[Job]:
    """Return all runs that are asked for."""
    return [Job(task=task, algorithm=name, seed=seed, share=1.0, learning_rate=SELFPLAY_TASKS[task].learning_rates[0],
                split="test", folder=options.folder)
            for seed in options.seeds for task in options.tasks
            for name in SELFPLAY if name != FOREIGN[task]]  # fmt: skip


# The page -----------------------------------------------------------------------------------------------------------


def success_table(rows: Sequence[SelfplayRow], task: str) -> str:
    """Return what the runs on a task solve in the end, best first."""
    base, drawn = by_seed(rows, task, "base"), by_seed(rows, task, BASELINE)
    lines = []
    for name in present(rows, task, list(SELFPLAY)):
        runs = by_seed(rows, task, name)
        lines.append([
            name, str(len(runs)), shown(*student_interval([row.success for row in runs.values()])),
            shown(*student_interval(paired(runs, base)), sign=True),
            "" if name == BASELINE else shown(*student_interval(paired(runs, drawn)), sign=True),
            f"{fmean(row.tokens for row in runs.values()):,.0f}", f"{fmean(row.seconds for row in runs.values()):.0f}",
        ])  # fmt: skip
    return table(["instances", "seeds", "success", "over the base", f"over {BASELINE}", "tokens", "s"], lines)


def shares_table(rows: Sequence[SelfplayRow], task: str) -> str:
    """Return what the proposals were in the first and in the last quarter of the budget, means over seeds."""
    quarter = CURVE_POINTS // 4
    lines = []
    for name in SELFPLAY:
        runs = [row for row in by_seed(rows, task, name).values() if isinstance(row, SelfplayRow) and row.valid]
        if not runs:
            continue
        cells = []
        for measure in (*SHARES, "learnability"):
            points = [points_of(getattr(row, measure)) for row in runs if getattr(row, measure)]
            first, last = (f"{fmean(fmean(part[chosen]) for part in points):.2f}" if points else "-"
                           for chosen in (slice(quarter), slice(-quarter, None)))  # fmt: skip
            cells.append(f"{first} to {last}")
        lines.append([name, *cells])
    return table(["proposals", "valid", "and solvable", "and new, for training, not trivial", "learnability"], lines)


def points_of(curve: str) -> list[float]:
    """Return the points of a curve."""
    return [float(point) for point in curve.split()]


def page(rows: Sequence[SelfplayRow]) -> str:
    """Return the page."""
    parts = ["# Self-play\n", "    python -m turngym.benchmarks.selfplay\n", (__doc__ or "").split("\n\n", 2)[2]]
    for task in (task for task in SELFPLAY_TASKS if present(rows, task, list(SELFPLAY))):
        budget = f"{SELFPLAY_TASKS[task].max_tokens:,} tokens; {SELFPLAY_TASKS[task].episodes} test instances."
        parts += [
            f"## {task.split(',')[0]}\n",
            f"{frame(rows, task)}; {budget} Means over seeds with 95% intervals, differences in pairs of seeds.\n",
            f"{success_table(rows, task)}\n",
            "Shares of the proposals in the first and in the last quarter of the budget:\n",
            f"{shares_table(rows, task)}\n",
        ]
    return "\n".join(parts)


def draw(rows: Sequence[SelfplayRow], path: Path) -> None:
    """Draw the shares of the policy's proposals and their learnability over the budget.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    tasks = [task for task in SELFPLAY_TASKS if by_seed(rows, task, "proposed by the policy")]
    figure = empty_figure(5.5 * max(1, len(tasks)), 3.6)
    for place, task in enumerate(tasks, start=1):
        _draw_task(figure, rows, task, (1, len(tasks), place))
    figure.savefig(path, dpi=130)


def _draw_task(figure: Figure, rows: Sequence[SelfplayRow], task: str, place: tuple[int, int, int]) -> None:
    axes = figure.add_subplot(*place)
    tokens = [SELFPLAY_TASKS[task].max_tokens * (part + 0.5) / CURVE_POINTS for part in range(CURVE_POINTS)]
    for measure in (*SHARES, "learnability"):
        runs = by_seed(rows, task, "proposed by the policy").values()
        points = [points_of(getattr(row, measure)) for row in runs if getattr(row, measure)]
        if points:
            axes.plot(tokens, [fmean(column) for column in zip(*points, strict=True)], label=measure)
    axes.set(title=task.split(",", maxsplit=1)[0], xlabel="generated tokens", ylim=(0, 1.02))
    axes.legend(fontsize=8)


def main(words: Sequence[str] | None = None) -> int:
    """Do the runs that are missing, print the page and write it."""
    options = tyro.cli(Options, args=words, prog="python -m turngym.benchmarks.selfplay", description=__doc__)
    failed = do_all(jobs_of(options), options.rows, options.jobs, run_job, SelfplayRow) if options.run else 0
    rows = read_rows(options.rows, SelfplayRow)
    print(kept(page(rows), options.out))
    draw(rows, options.out.with_suffix(".png"))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
