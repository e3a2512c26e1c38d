"""What the comparison of objectives came to: tables with intervals and paired differences, and pictures.

    python -m turngym.benchmarks.algorithms_report

reads `benchmarks/results/algorithms.csv` and writes `algorithms.md` and the pictures beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import tyro

from turngym.agents.intervals import student_interval
from turngym.benchmarks.algorithm_tasks import ABLATIONS, COMPARED, GAMES, LAKES, SHAPED, SUBJECT, TASKS
from turngym.benchmarks.algorithms import tuned_rate, tuning_means
from turngym.benchmarks.algorithms_pictures import draw
from turngym.benchmarks.algorithms_rows import (
    COMPARISON,
    RESULTS,
    TUNING,
    Row,
    by_seed,
    paired,
    present,
    share_of_optimum,
    shown,
)
from turngym.benchmarks.page import kept, read_rows, table


@dataclass(frozen=True)
class Options:
    """Write the tables and pictures of the comparison."""

    rows: Path = COMPARISON
    """The result file of `algorithms run`."""
    tuning: Path = TUNING
    """The result file of `algorithms tune`."""
    out: Path = RESULTS / "algorithms.md"
    """The page to write; pictures go beside it."""
    pictures: bool = True
    """Whether to draw; needs matplotlib."""


def task_table(rows: Sequence[Row], task: str, names: Sequence[str]) -> str:
    """Return the results of some algorithms on a task, best first."""
    subject, base = by_seed(rows, task, SUBJECT), by_seed(rows, task, "base")
    lines = []
    for name in present(rows, task, names):
        runs = by_seed(rows, task, name)
        behind = paired(subject, runs)
        some = next(iter(runs.values()))
        lines.append([
            name,
            f"{some.learning_rate:g}",
            str(len(runs)),
            shown(*student_interval([row.success for row in runs.values()])),
            shown(*student_interval(paired(runs, base)), sign=True),
            "" if name == SUBJECT or not behind else shown(*student_interval(behind), sign=True),
            f"{fmean(row.tokens for row in runs.values()):,.0f}",
            f"{fmean(row.stage_one_tokens for row in runs.values()):,.0f}",
            f"{fmean(row.seconds for row in runs.values()):.0f}",
        ])  # fmt: skip
    columns = ["algorithm", "learning rate", "seeds", "success", "over the base", f"{SUBJECT} is ahead by", "tokens",
               "in stage 1", "s"]  # fmt: skip
    return table(columns, lines)


def frame(rows: Sequence[Row], task: str) -> str:
    """Return what the figures of a task lie between: random play, the base and the optimum."""
    parts = []
    for name in ("random", "base", "optimum"):
        runs = by_seed(rows, task, name)
        if runs:
            parts.append(f"{name} {shown(*student_interval([row.success for row in runs.values()]))}")
    return ", ".join(parts)


def summary_table(rows: Sequence[Row]) -> str:
    """Return, for every task that was played, where `astarpo_lambda` stands beside the best of the others."""
    lines = []
    for task in TASKS:
        others = present(rows, task, [name for name in COMPARED if name != SUBJECT])
        subject = by_seed(rows, task, SUBJECT)
        if not others or not subject:
            continue
        cells = {name: shown(*student_interval([row.success for row in by_seed(rows, task, name).values()]))
                 for name in ("base", SUBJECT, others[0], "optimum") if by_seed(rows, task, name)}  # fmt: skip
        leads = [student_interval(lead) for name in others if (lead := paired(subject, by_seed(rows, task, name)))]
        ahead, behind = (sum(sign * mean > half for mean, half in leads) for sign in (1, -1))
        lines.append([task, str(len(subject)), cells.get("base", ""), cells[SUBJECT], f"{others[0]} {cells[others[0]]}",
                      f"{ahead} / {behind} of {len(leads)}", cells.get("optimum", "")])  # fmt: skip
    return table(["task", "seeds", "base", SUBJECT, "best of the others", "ahead of / behind", "optimum"], lines)


def sweep_table(rows: Sequence[Row]) -> str:
    """Return how far the algorithms came on ever more slippery ice."""
    names = [name for name in dict.fromkeys((SUBJECT, *ABLATIONS, *COMPARED, *SHAPED))
             if any(by_seed(rows, lake, name) for lake in LAKES)]  # fmt: skip
    lines = []
    for name in names:
        cells = [share_of_optimum(rows, lake, name) for lake in LAKES]
        lines.append([name, *(shown(*student_interval(cell)) if cell else "" for cell in cells)])
    return table(["algorithm", *(f"slip {TASKS[lake].slip:.2f}" for lake in LAKES)], lines)


def tuning_table(rows: Sequence[Row], game: Sequence[str]) -> str:
    """Return how every objective did in a game at every learning rate it was tried with, the one it got in bold."""
    lines = []
    for name in COMPARED:
        with suppress(ValueError):  # not tuned yet
            best = tuned_rate(rows, name, game[0])
            cells = {rate: f"{mean:.3f}" for rate, mean in tuning_means(rows, name, game).items()}
            lines.append([name, *(cells | {best: f"**{cells[best]}**"}).values()])
    return table([", ".join(game), *(f"{rate:g}" for rate in TASKS[game[0]].learning_rates)], lines)


def page(rows: Sequence[Row], tuning: Sequence[Row]) -> str:
    """Return the whole page."""
    parts = [
        HEAD,
        summary_table(rows) + "\n",
        SUMMARY,
        "## From the base to the optimum, on ever more slippery ice\n",
        "0 is the base, 1 the optimum of the same test instances; 95% intervals over the seeds that were run.\n",
        "![Slip of the ice](algorithms_slip.png)\n",
        sweep_table(rows) + "\n",
    ]
    for task in TASKS:
        if by_seed(rows, task, "base"):
            parts += [f"## {task}\n", f"{frame(rows, task)}; {TASKS[task].max_tokens:,} tokens.\n",
                      task_table(rows, task, list(COMPARED)) + "\n"]  # fmt: skip
            for about, extra in ((PARTS, ABLATIONS), (TOLD, SHAPED)):
                seeds = {row.seed for row in rows if row.task == task and row.algorithm in extra}
                if seeds:
                    same = [row for row in rows if row.seed in seeds]
                    parts += [about, task_table(same, task, [SUBJECT, *extra]) + "\n"]
    parts += ["## On the way\n", ON_THE_WAY, "![Learning curves](algorithms_curves.png)\n"]
    if tuning:
        parts += ["## Tuning\n", TUNED, *(tuning_table(tuning, game) + "\n" for game in GAMES)]
    return "\n".join(parts)


SUMMARY = """Ahead of and behind so many of the others, where the interval of the paired differences leaves out 0; it is
not corrected for their number. The best of the others is picked after the fact, by its mean, which flatters it.
"""
PARTS = """Its parts, and what may stand beside them or in their place, on the seeds on which they were tried: compare
by the column of paired differences. The rows of astarpo_lambda are from when it still learned
from the episodes of stage 1 in its first steps; "without stage-1 reuse" is what it is now, and so are "lambda 1",
"lambda 0" and those with V\\*:
"""
TOLD = """Others that are told of progress too: shaped by the potential that the values of astarpo_lambda are told of,
or automatically, by V\\* of states, with the tokens of stage 1; at the learning rate that they have without:
"""
ON_THE_WAY = """Success on training episodes over the budget of tokens, means over seeds. Of the prompts, one in four is
drawn from a pool by how near it is to a toss-up. What needs stage 1 learns nothing before that is paid for: until then
the line stands where its first step is.
"""
TUNED = """Success on validation instances after six tenths of the budget, by learning rate, one run of each on a task;
in bold the rate of the comparison.
"""
HEAD = """# Objectives compared

    python -m turngym.benchmarks.algorithms tune
    python -m turngym.benchmarks.algorithms run
    python -m turngym.benchmarks.algorithms_report

Every objective has the same harness, the same bases (one per seed), the same batches of 64 episodes and the same budget
of generated tokens, those of stage 1 included. Its learning rate is the one of four that did best on validation
instances, with a seed of its own and six tenths of the budget: one for the three lakes, by its mean over them, one for
Countdown and one for Multiplication (`algorithms_tuning.csv`). Success is on 512 test instances, the same for all,
sampled at temperature 1. Intervals are of 95%, by Student's t over seeds; differences are paired by seed. Seconds are
of one thread, while another run kept the second core busy.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and the pictures unless told otherwise."""
    options = tyro.cli(Options, args=arguments)
    rows, tuning = read_rows(options.rows, Row), read_rows(options.tuning, Row)
    if not rows:
        print(f"{options.rows} holds no results: run `python -m turngym.benchmarks.algorithms run` first",
              file=sys.stderr)  # fmt: skip
        return 2
    print(kept(page(rows, tuning), options.out), end="")
    if options.pictures:
        draw(rows, options.out.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
