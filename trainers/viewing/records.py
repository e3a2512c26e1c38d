"""What the page shows of a run: its settings, its table, its numbers over steps, and which episodes there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from turngym._errors import InputError
from turngym.envs.finding import describe_env
from turngym.trainers.config import algorithm_of
from turngym.trainers.launch.run_folder import known_config
from turngym.trainers.live.files import read_echo
from turngym.trainers.reporting.credit import credit_file
from turngym.trainers.reporting.curves import kept_steps
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.tables import result_rows, table_cells
from turngym.trainers.run_files import CONFIG_FILE, METRICS_FILE, RESULT_FILE
from turngym.trainers.viewing.episodes import episode_files, finite

MARKED = ("alarm", "reset", "branch", "live")
"""The phases whose lines are marked on curves."""


def run_record(folder: Path) -> dict[str, Any]:
    """Return what the page shows of a run, ready for JSON; `file_record` has the episodes of a file.

    Args:
        folder: The run's.

    Raises:
        InputError: It is no run, or its configuration cannot be read.
    """
    config = known_config(folder)
    lines = Metrics(folder / METRICS_FILE).lines()
    return {
        "name": folder.name,
        "env": describe_env(config.env.id, config.env.kwargs),
        "algorithm": algorithm_of(config.objective),
        "seed": config.run.seed,
        "steps": config.learning.steps,
        "config": (folder / CONFIG_FILE).read_text(encoding="utf-8"),
        "table": _table(folder),
        "curves": curves_of(kept_steps(lines)),
        "marks": list(marks_of(lines)),
        "files": [{"name": path.stem, "version": _version(path)} for path in episode_files(folder)],
        "live": None if (folder / RESULT_FILE).is_file() else read_echo(folder),
    }


def _version(path: Path) -> str:
    """Return what changes when a file of episodes does."""
    stats = [file.stat() for file in (path, credit_file(path.parents[1], path.stem)) if file.exists()]
    return " ".join(f"{stat.st_mtime_ns}-{stat.st_size}" for stat in stats)


def marks_of(lines: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is marked on curves: alarms, resets, branches and rollbacks, each at the step after which it came.

    Args:
        lines: The lines of all phases.
    """
    step, rollbacks = 0, 0
    for line in lines:
        if line["phase"] in MARKED:
            yield {"step": line.get("step", step), "kind": line["phase"], "text": _mark(line)}
        elif line["phase"] == "learning":
            if line.get("rollbacks", 0) > rollbacks:
                back = f"rollback {line['rollbacks']}: from step {step} back to step {line['step'] - 1}"
                yield {"step": line["step"] - 1, "kind": "rollback", "text": back}
            step, rollbacks = line["step"], line.get("rollbacks", 0)


def curves_of(steps: Iterable[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Return every number of the steps as a list over them; None where a step has none, or none that is finite."""
    steps = list(steps)
    names = {name: None for step in steps for name, value in step.items() if _is_number(value)}
    return {name: [finite(step.get(name)) for step in steps] for name in names}


def _table(folder: Path) -> list[list[str]]:
    """Return the rows of the result as text; none while there is no result."""
    with suppress(OSError, ValueError, InputError):
        return table_cells(result_rows(json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))))
    return []


def _mark(line: Mapping[str, Any]) -> str:
    if line["phase"] == "live":
        return f"live: {', '.join(map(str, line['changed']))}"
    told = {name: value for name, value in line.items() if name not in ("phase", "step", "alarm")}
    words = ", ".join(f"{name} {value:.3g}" if _is_number(value) else f"{name} {value}" for name, value in told.items())
    kind = " ".join(str(line[name]) for name in ("phase", "alarm") if name in line)
    return f"{kind}: {words}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
