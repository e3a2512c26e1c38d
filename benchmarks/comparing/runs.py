"""Run folders, read to be compared: what each was, by which base it began, and what it came to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from turngym._checksums import listing
from turngym._errors import InputError
from turngym.agents.evaluation import Score
from turngym.envs import reward_range
from turngym.envs.finding import describe_env
from turngym.trainers.config import TrainConfig, algorithm_of, written_by
from turngym.trainers.launch.resuming import steps_done
from turngym.trainers.launch.run_folder import known_config
from turngym.trainers.reporting.curves import Curve, read_curve
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import BASE, CHECKPOINTS, CONFIG_FILE, METRICS_FILE, RESULT_FILE

NEEDED = ("base_sampled", "base_greedy", "trained_sampled", "trained_greedy")
"""Agents without whose scores a run says nothing."""
PHASES = ("warm_start", "values", "learning")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A complete run."""

    folder: Path
    """Where it lies."""
    config: TrainConfig
    """Its configuration."""
    version: str
    """What wrote it, such as "turngym 0.2.0"."""
    scores: dict[str, Score]
    """The scores of "random", where it could play, "base_sampled", "base_greedy", "trained_sampled" and
    "trained_greedy"."""
    optimum: float | None
    """The success of the best possible agent on the same instances, None where it is unknown."""
    tokens: int
    """Generated tokens, those of stage 1 included."""
    seconds: dict[str, float]
    """Wall-clock seconds of "warm_start", "values" and "learning"."""
    base: str | None
    """The digest of the weights of its base; None where these are gone."""
    training: Curve
    """Success on the training episodes of every step."""
    validation: Curve
    """Success in validation, where that was measured."""
    branches: tuple[str, ...] = ()
    """What was changed on the way, such as "learning.steps 60 -> 90"."""

    @property
    def algorithm(self) -> str:
        """What it learned by, as on the command line."""
        return algorithm_of(self.config.objective)

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.config.run.seed

    @property
    def env(self) -> str:
        """The environment with its arguments, as a reader would write it."""
        return describe_env(self.config.env.id, self.config.env.kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incomplete:
    """A run that is not complete, or cannot be read."""

    folder: Path
    """Where it lies."""
    why: str
    """What is missing, and what to do."""


def run_folders(named: Iterable[Path]) -> list[Path]:
    """Return the run folders that are named, or lie in a folder that is named, each once and in order of their paths.

    The bases of a sweep, from which its runs began, are left out.

    Raises:
        InputError: A folder neither is a run nor holds one.
    """
    found: dict[Path, Path] = {}
    for folder in named:
        inside = [folder] if (folder / CONFIG_FILE).is_file() else sorted(
            path.parent for path in folder.glob(f"*/{CONFIG_FILE}") if not _is_base_alone(path.parent)
        )  # fmt: skip
        if not inside:
            raise InputError(f"{folder} holds no run: neither it nor a folder in it has a {CONFIG_FILE}")
        found |= {path.resolve(): path for path in inside}
    return [found[path] for path in sorted(found)]


def read_runs(folders: Iterable[Path]) -> tuple[list[RunRecord], list[Incomplete]]:
    """Read run folders; those that are not complete are returned apart."""
    runs: list[RunRecord] = []
    others: list[Incomplete] = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except InputError as error:
            others.append(Incomplete(folder=folder, why=str(error)))
    return runs, others


def read_run(folder: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        InputError: The run is not complete, or damaged; the message says what to do.
    """
    config = known_config(folder)
    if not (folder / RESULT_FILE).is_file():
        raise InputError(f"{steps_done(folder)} of {config.learning.steps} steps are saved; go on with: turngym train "
                         f"--resume {quote(str(folder))}")  # fmt: skip
    lines = Metrics(folder / METRICS_FILE).lines()
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        scores = {name: Score.from_dict(result[name]) for name in ("random", *NEEDED) if name in result}
        generated = result["generated_tokens"]
        record = RunRecord(
            folder=folder, config=config,
            version=written_by((folder / CONFIG_FILE).read_text(encoding="utf-8"), source=str(folder / CONFIG_FILE)),
            scores=scores, optimum=result.get("optimum"), tokens=sum(int(count) for count in generated.values()),
            seconds={phase: float(result["seconds"].get(phase, 0.0)) for phase in PHASES}, base=base_digest(folder),
            training=read_curve(lines), validation=read_curve(lines, number="validation"),
            branches=tuple(str(change) + (f" live, at step {line['step']}" if line["phase"] == "live" else "")
                           for line in lines if line["phase"] in ("branch", "live")
                           for change in line.get("changed", [])),
        )  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"its {RESULT_FILE} cannot be read ({type(error).__name__}: {error}); delete it, and go on "
                         f"with: turngym train --resume {quote(str(folder))}") from error  # fmt: skip
    if missing := [name for name in NEEDED if name not in scores]:
        raise InputError(f"its {RESULT_FILE} lacks {', '.join(missing)}; delete it, and go on with: turngym train "
                         f"--resume {quote(str(folder))}")  # fmt: skip
    return record


def base_digest(folder: Path) -> str | None:
    """Return what tells the weights of a run's base from others; None where they are gone."""
    files = sorted((folder / BASE).glob("*.safetensors"))
    return hashlib.blake2b(listing(files), digest_size=8).hexdigest() if files else None


def return_bounds(config: TrainConfig) -> tuple[float, float]:
    """Return the least and largest return of an environment."""
    return reward_range(config.env.id, config.env.kwargs)


def _is_base_alone(folder: Path) -> bool:
    """Whether a folder of a sweep is a base from which nothing was learned there."""
    if not folder.name.startswith("base") or (folder / RESULT_FILE).exists() or (folder / CHECKPOINTS).exists():
        return False
    phases: set[Any] = {line["phase"] for line in Metrics(folder / METRICS_FILE).lines()}
    return phases <= {"warm_start", "branch"}
