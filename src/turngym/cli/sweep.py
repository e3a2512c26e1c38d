"""`turngym sweep`: algorithms x seeds from one base for each seed, several runs at once, in ordinary run folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from typing import Annotated, NoReturn

from rich.console import Console
from tyro.conf import Positional, arg

from turngym._errors import InputError
from turngym.cli.errors import Failure, UsageError
from turngym.cli.evaluate import check_amounts
from turngym.cli.models import import_trained
from turngym.cli.options import Given, flags_of, grouped, parse
from turngym.cli.printable import printable, tell
from turngym.cli.sweep_plan import SweepPlan, plan_sweep
from turngym.cli.sweep_view import SweepView, plan_table
from turngym.cli.terminal import make_console
from turngym.cli.train import Named, names, train_flags
from turngym.plugins import requested, require_plugins
from turngym.trainers.config import imported_by, parse_toml, write_toml
from turngym.trainers.interrupt import exit_code
from turngym.trainers.run_lock import RunInUse, run_lock
from turngym.trainers.sweeps import Done, PlannedRun, Work, Workers, begin, check_begun, cores, state_of
from turngym.trainers.torchrun import launched

LOGS = "logs"
"""The folder in a sweep for what its runs print."""
PRELOADED = ("turngym.cli.train", "turngym.trainers.launch.training")
"""What every run imports, for seconds."""
REFUSED = {
    "--algorithm": "name algorithms with --algorithms",
    "--run.seed": "name seeds with --seeds",
    "--resume": "the same command goes on with a sweep that was stopped; turngym train --resume goes on with one run",
    "--base-only": "a sweep makes the bases and all that begins from them",
    "--list-presets": "turngym train --list-presets lists them",
}
"""Options of `turngym train` that mean nothing here, and what does."""


@dataclass(frozen=True)
class SweepOptions:
    """Train algorithms x seeds, all algorithms of a seed from one base; the same command goes on after a stop.

    All further options are those of `turngym train` and hold for every run.
    """

    game: Annotated[Positional[str], arg(metavar="ENV")] = ""
    """The environment, as of `turngym train`."""
    algorithms: list[str] = field(default_factory=list)
    """What to learn by, such as astarpo grpo rloo; the algorithm of the preset if none is named."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Each makes a base of its own, from which all algorithms begin."""
    grid: list[str] = field(default_factory=list)
    """Settings to vary as well, such as learning.learning_rate=1e-4,5e-4; of several all combinations are run."""
    jobs: int | None = None
    """Runs at once, of --run.threads threads each; one for every core unless given, and one at a time on a GPU."""
    dry_run: bool = False
    """Print what would run and what is done already, and touch nothing."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code: 1 where a run failed."""
    options, named, others = read(words)
    console = make_console()
    plan = plan_sweep(named, others, algorithms=options.algorithms, seeds=options.seeds, grid=options.grid)
    for run in (*plan.bases, *plan.runs):
        check_begun(run)
    jobs = options.jobs or default_jobs(plan)
    if options.dry_run:
        console.print(plan_table(plan))
        console.print(f"Would train in {plan.folder}, {jobs} at once.", soft_wrap=True)
        for note in plan.notes:
            console.print(note, soft_wrap=True)
        return 0
    for note in plan.notes:
        console.print(note, soft_wrap=True)
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        with run_lock(plan.folder):
            return execute(plan, jobs, console, words)
    except RunInUse as error:
        raise UsageError(f"another sweep is at work in {plan.folder}: wait until it is done, or stop it") from error


# What to run --------------------------------------------------------------------------------------------------------


def read(words: Sequence[str]) -> tuple[SweepOptions, Named, list[Given]]:
    """Return the options of the sweep, what is named for `turngym train`, and the words for that.

    Raises:
        UsageError: They cannot be used together.
        SystemExit: After `--help`.
    """
    if launched() > 1:
        raise UsageError("a sweep starts its own processes: leave out torchrun")
    own = {flag.name: flag for flag in flags_of(SweepOptions)}
    mine: dict[str, list[str]] = {}
    others: list[Given] = []
    for given in grouped(words, [*own.values(), *train_flags()]):
        if given.words[0] in ("-h", "--help", "--help-all"):
            parse(SweepOptions, ["--help"], command="sweep")
        if given.flag in REFUSED:
            raise UsageError(f"sweep has no option {given.flag}: {REFUSED[given.flag]}")
        if given.flag in own:
            flag = own[given.flag]
            before = mine.get(given.flag, []) if "list[" in str(flag.type) else []
            mine[given.flag] = [*before, *given.values]
        else:
            others.append(given)
    options = parse(SweepOptions, [word for flag, values in mine.items() for word in (flag, *values)], command="sweep")
    named = names([word for given in others for word in given.words])
    check(options, named)
    return options, named, others


def check(options: SweepOptions, named: Named) -> None:
    """Check that there is something to run, once each.

    Raises:
        UsageError: There is not.
    """
    if not named.game and not named.preset:
        raise UsageError("sweep needs ENV, such as FrozenLake; see turngym sweep --help")
    if len({*options.algorithms}) < len(options.algorithms) or len({*options.seeds}) < len(options.seeds):
        raise UsageError("an algorithm or a seed is named twice: name each once")
    if not options.seeds:
        raise UsageError("--seeds needs a value")
    for seed in options.seeds:
        check_amounts(seeds=seed)
    if options.jobs is not None:
        check_amounts(jobs=options.jobs)


def default_jobs(plan: SweepPlan) -> int:
    """Return how many runs are done at once: as many as have a core for each thread, and memory; on a GPU one."""
    if not on_cpu(plan):
        return 1
    fitting = cores() // plan.runs[0].config.run.threads
    if plan.peak:
        device = import_trained("turngym.agents.models.hardware").find_device("cpu")
        available = import_trained("turngym.trainers.memory").available_memory(device)
        fitting = min(fitting, int(available // plan.peak))
    return max(1, fitting)


def on_cpu(plan: SweepPlan) -> bool:
    """Return whether the models lie in the memory of the processor."""
    device = plan.runs[0].config.run.device
    return device == "cpu" or import_trained("turngym.agents.models.hardware").find_device(device).type == "cpu"


# Running ------------------------------------------------------------------------------------------------------------


def execute(plan: SweepPlan, jobs: int, console: Console, words: Sequence[str]) -> int:
    """Do what is not done, tell of each run as it ends, and name what failed.

    Raises:
        KeyboardInterrupt: A signal came; all runs are saved.
    """
    works = works_of(plan)
    view = SweepView(plan, console, works)
    failed: dict[str, str] = {}
    try:
        with Workers(list(works), jobs, view.refresh, preload=PRELOADED if on_cpu(plan) else ()) as workers, view:
            for done in workers:
                run = works[done.work]
                if done.exit_code == 0:
                    view.finished(run, done.seconds)
                else:
                    failed[run.name] = reason(done, plan)
                    view.failed(run, failed[run.name])
    except KeyboardInterrupt as stop:
        imports = [word for module in requested() for word in ("--import", module)]
        again = join(["turngym", "sweep", *words, *imports])
        print(printable(f"Stopped, and every run is saved. The same command goes on: {again}"), file=sys.stderr)
        return exit_code(stop)
    whole = sum(state_of(run) == "done" for run in plan.runs)
    console.print(f"{whole} of {len(plan.runs)} runs are done. Compare them with: "
                  f"{join(['turngym', 'compare', str(plan.folder)])}", soft_wrap=True)  # fmt: skip
    if failed:
        told = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise Failure(f"{len(failed)} of {len(works)} did not end well, and the same command tries them again. {told}")
    return 0


def works_of(plan: SweepPlan) -> dict[Work, PlannedRun]:
    """Return what is to be done: what is not done, each base before the runs that begin from it."""
    works = {}
    bases = {base.folder: base for base in plan.bases}
    for run in plan.ordered:
        if state_of(run) == "done":
            continue
        base = None if run.base is None else bases[run.base]
        log = plan.folder / LOGS / f"{run.name}.txt"
        work = Work(name=run.name, call=go_on, needs="" if base is None else base.name,
                    arguments=(write_toml(run.config), run.base, log))  # fmt: skip
        works[work] = run
    return works


def go_on(text: str, base: Path | None, log: Path) -> NoReturn:
    """Begin a run or go on with it, in a process of its own whose output goes to a file.

    Args:
        text: The configuration.
        base: The run whose base it begins from; None for a base.
        log: The file; what it holds stays.

    Raises:
        SystemExit: With the exit code of `turngym train`.
    """
    from turngym.cli import main

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        require_plugins(*imported_by(text, source=str(log)))
        config = parse_toml(text, source=str(log))
        os.environ["OMP_NUM_THREADS"] = str(config.run.threads)
        run = PlannedRun(config=config, base=base)
        begin(run)
    except (InputError, OSError) as error:
        tell(error)
        raise SystemExit(UsageError.exit_code) from error
    raise SystemExit(main(["train", "--resume", str(run.folder), *(["--base-only"] if base is None else [])]))


def reason(done: Done, plan: SweepPlan) -> str:
    """Return why work did not end well."""
    if done.exit_code is None:
        return f"not begun, since {done.work.needs} failed"
    log = plan.folder / LOGS / f"{done.work.name}.txt"
    if done.exit_code < 0:
        return f"ended by signal {-done.exit_code}, as the system does when memory runs out ({log})"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    told = [line.removeprefix("turngym: ") for line in lines if line.strip()]
    return f"{told[-1] if told else f'exit code {done.exit_code}'} ({log})"
