"""What the contest of objectives came to: tables with intervals and paired differences, and pictures.

    python -m turngym.benchmarks.algorithms_report

reads `benchmarks/results/algorithms.csv` and writes `algorithms.md` and the pictures beside it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import tyro

from turngym.benchmarks.algorithm_tasks import ABLATIONS, CONTESTANTS, GAMES, HERO, LAKES, SHAPED, TASKS
from turngym.benchmarks.algorithms import CONTEST, RESULTS, TUNING, Row, read_rows, tuned_rate, tuning_means
from turngym.benchmarks.page import kept, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SWEEP = (
    HERO, "V* by soft value iteration, lambda 0", "V* by log-mean-exp, lambda 0", "awr", "rloo", "grpo", "gigpo", "ppo"
)  # fmt: skip
"""Who is drawn over the slip of the ice."""
STUDENT_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The 97.5% quantile of Student's t for 1 to 10 degrees of freedom."""


@dataclass(frozen=True)
class Options:
    """Write the tables and pictures of the contest."""

    rows: Path = CONTEST
    """The result file of `algorithms run`."""
    tuning: Path = TUNING
    """The result file of `algorithms tune`."""
    out: Path = RESULTS / "algorithms.md"
    """The page to write; pictures go beside it."""
    pictures: bool = True
    """Whether to draw; needs matplotlib."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of one value per seed, and half the width of its 95% interval by Student's t (nan for one)."""
    if len(values) < 2:
        return fmean(values), math.nan
    spread = STUDENT_975[min(len(values) - 1, len(STUDENT_975)) - 1] * stdev(values) / math.sqrt(len(values))
    return fmean(values), spread


def by_seed(rows: Sequence[Row], task: str, algorithm: str) -> dict[int, Row]:
    """Return the runs of a contestant on a task by seed."""
    return {row.seed: row for row in rows if (row.task, row.algorithm) == (task, algorithm)}


def paired(first: dict[int, Row], second: dict[int, Row]) -> list[float]:
    """Return how much more the first solved than the second, on every seed that both have."""
    return [first[seed].success - second[seed].success for seed in sorted(first.keys() & second.keys())]


def shown(mean: float, half: float, *, sign: bool = False) -> str:
    """Return a mean with the half width of its interval."""
    number = f"{mean:+.3f}" if sign else f"{mean:.3f}"
    return number if math.isnan(half) else f"{number} ± {half:.3f}"


def present(rows: Sequence[Row], task: str, names: Sequence[str]) -> list[str]:
    """Return who of some contestants has runs on a task, best first."""
    means = {name: fmean(row.success for row in runs.values())
             for name in names if (runs := by_seed(rows, task, name))}  # fmt: skip
    return sorted(means, key=lambda name: -means[name])


def task_table(rows: Sequence[Row], task: str, names: Sequence[str]) -> str:
    """Return the results of some contestants on a task, best first."""
    hero, base = by_seed(rows, task, HERO), by_seed(rows, task, "base")
    lines = []
    for name in present(rows, task, names):
        runs = by_seed(rows, task, name)
        behind = paired(hero, runs)
        some = next(iter(runs.values()))
        lines.append([
            name,
            f"{some.learning_rate:g}",
            str(len(runs)),
            shown(*interval([row.success for row in runs.values()])),
            shown(*interval(paired(runs, base)), sign=True),
            "" if name == HERO or not behind else shown(*interval(behind), sign=True),
            f"{fmean(row.tokens for row in runs.values()):,.0f}",
            f"{fmean(row.stage_one_tokens for row in runs.values()):,.0f}",
            f"{fmean(row.seconds for row in runs.values()):.0f}",
        ])  # fmt: skip
    columns = ["algorithm", "learning rate", "seeds", "success", "over the base", f"{HERO} is ahead by", "tokens",
               "in stage 1", "s"]  # fmt: skip
    return table(columns, lines)


def frame(rows: Sequence[Row], task: str) -> str:
    """Return between what a task is to be read: random play, the base and the optimum."""
    parts = []
    for name in ("random", "base", "optimum"):
        runs = by_seed(rows, task, name)
        if runs:
            parts.append(f"{name} {shown(*interval([row.success for row in runs.values()]))}")
    return ", ".join(parts)


def summary_table(rows: Sequence[Row]) -> str:
    """Return, for every task that was played, where `astarpo_lambda` stands beside the best of the others."""
    lines = []
    for task in TASKS:
        others = present(rows, task, [name for name in CONTESTANTS if name != HERO])
        hero = by_seed(rows, task, HERO)
        if not others or not hero:
            continue
        cells = {name: shown(*interval([row.success for row in by_seed(rows, task, name).values()]))
                 for name in ("base", HERO, others[0], "optimum") if by_seed(rows, task, name)}  # fmt: skip
        leads = [interval(lead) for name in others if (lead := paired(hero, by_seed(rows, task, name)))]
        ahead, behind = (sum(sign * mean > half for mean, half in leads) for sign in (1, -1))
        lines.append([task, str(len(hero)), cells.get("base", ""), cells[HERO], f"{others[0]} {cells[others[0]]}",
                      f"{ahead} / {behind} of {len(leads)}", cells.get("optimum", "")])  # fmt: skip
    return table(["task", "seeds", "base", HERO, "best of the others", "ahead of / behind", "optimum"], lines)


def share_of_optimum(rows: Sequence[Row], task: str, name: str) -> list[float]:
    """Return, for every seed, how far a contestant came from the base (0) to the optimum (1)."""
    runs, base, best = (by_seed(rows, task, player) for player in (name, "base", "optimum"))
    return [(runs[seed].success - base[seed].success) / (best[seed].success - base[seed].success)
            for seed in sorted(runs.keys() & base.keys() & best.keys())]  # fmt: skip


def sweep_table(rows: Sequence[Row]) -> str:
    """Return how far the contestants came on ever more slippery ice."""
    names = [name for name in dict.fromkeys((HERO, *ABLATIONS, *CONTESTANTS, *SHAPED))
             if any(by_seed(rows, lake, name) for lake in LAKES)]  # fmt: skip
    lines = []
    for name in names:
        cells = [share_of_optimum(rows, lake, name) for lake in LAKES]
        lines.append([name, *(shown(*interval(cell)) if cell else "" for cell in cells)])
    return table(["algorithm", *(f"slip {TASKS[lake].slip:.2f}" for lake in LAKES)], lines)


def tuning_table(rows: Sequence[Row], game: Sequence[str]) -> str:
    """Return how every objective did in a game at every learning rate it was tried with, the one it got in bold."""
    lines = []
    for name in CONTESTANTS:
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
                      task_table(rows, task, list(CONTESTANTS)) + "\n"]  # fmt: skip
            for about, extra in ((PARTS, ABLATIONS), (TOLD, SHAPED)):
                seeds = {row.seed for row in rows if row.task == task and row.algorithm in extra}
                if seeds:
                    same = [row for row in rows if row.seed in seeds]
                    parts += [about, task_table(same, task, [HERO, *extra]) + "\n"]
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
in bold the rate of the contest.
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


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Draw the pictures of the page.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name, size, fill in (("slip", (7.0, 4.2), draw_sweep), ("curves", (11.0, 6.4), draw_curves)):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        fill(figure, rows)
        figure.savefig(folder / f"algorithms_{name}.png", dpi=130)


def draw_sweep(figure: Figure, rows: Sequence[Row]) -> None:
    """Draw how far some contestants came over the slip of the ice."""
    axes = figure.add_subplot()
    for place, name in enumerate(SWEEP):
        points = [(TASKS[lake].slip or 0.0, *interval(shares)) for lake in LAKES
                  if (shares := share_of_optimum(rows, lake, name))]  # fmt: skip
        if points:
            shifted = [slip + 0.004 * (place - len(SWEEP) / 2) for slip, _, _ in points]
            errors = [0.0 if math.isnan(half) else half for _, _, half in points]
            axes.errorbar(shifted, [mean for _, mean, _ in points], yerr=errors, capsize=2, marker="o",
                          linewidth=2.4 if name == HERO else 1.2, label=name)  # fmt: skip
    axes.set_xlabel("probability that a move goes elsewhere")
    axes.set_ylabel("from the base (0) to the optimum (1)")
    axes.axhline(0.0, color="grey", linewidth=0.6)
    axes.legend(fontsize=8)


def draw_curves(figure: Figure, rows: Sequence[Row]) -> None:
    """Draw the success in training over the tokens, a field for each task and one for the legend."""
    tasks = [task for task in TASKS if present(rows, task, list(CONTESTANTS))]
    columns = math.ceil((len(tasks) + 1) / 2)
    lines: dict[str, Any] = {}
    for place, task in enumerate(tasks, start=1):
        axes = figure.add_subplot(2, columns, place)
        for number, name in enumerate(CONTESTANTS):
            curves = [[float(point) for point in row.curve.split()] for row in by_seed(rows, task, name).values()]
            means = [fmean(points) for points in zip(*curves, strict=True)]
            tokens = [TASKS[task].max_tokens * (part + 0.5) / len(means) for part in range(len(means))]
            hero, dashes = name == HERO, "-" if number <= 10 else "--"  # there are ten colours
            (lines[name],) = axes.plot(tokens, means, dashes, color="black" if hero else f"C{number}",
                                       linewidth=2.4 if hero else 1.0, zorder=3 if hero else 2)  # fmt: skip
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("generated tokens")
        axes.set_ylabel("success in training")
    shown_lines = [lines[name] for name in CONTESTANTS if name in lines]
    axes = figure.add_subplot(2, columns, len(tasks) + 1)
    axes.axis("off")
    axes.legend(shown_lines, [name for name in CONTESTANTS if name in lines], fontsize=8, ncols=2, loc="center")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and the pictures unless told otherwise."""
    options = tyro.cli(Options, args=arguments)
    rows, tuning = read_rows(options.rows), read_rows(options.tuning)
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
