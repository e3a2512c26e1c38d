"""Train on a machine that is rented from Modal, up to an amount of money; docs/deploy.md has the whole story.

    pip install --constraint constraints.txt --editable '.[modal]' && modal setup
    modal run deploy/modal_app.py --preset frozen_lake --max-dollars 25 --gpu L4

The same command again continues a run that stopped, or fetches one that is done. This file only says what is rented and
how; what is done there stands in `deploy.attempt`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import modal

from deploy.attempt import AT_THE_CAP, FINISHED, LEDGER, Outcome, attempt
from deploy.fetching import attempts_at, check_idle, fetch, finished
from deploy.job import MOST_HOURS, MOST_RETRIES, Job, Plan, plan
from deploy.prices import NO_GPU
from deploy.requirements import EXTRAS, requirements
from turngym._errors import InputError

ROOT = Path(__file__).resolve().parents[1]
RUNS, WEIGHTS = "/runs", "/weights"
"""Where the volumes lie in a container."""
WORK = "/tmp/turngym"  # noqa: S108 - of a container that nobody else is in
"""Where a run is worked on there, on the container's own disk."""
STARTUP_SECONDS = 1200
"""Longest start of a container, whose image holds torch with CUDA."""
PARTS = ("agents", "benchmarks", "envs", "trainers", "webshop_server")
"""The folders that are parts of the package through links, which uploads pass over without a word."""
CACHES = ["**/__pycache__", "**/*.pyc"]


def build_image() -> modal.Image:
    """Return the image: Python, the pinned requirements, turngym, and in another layer the code in this folder."""
    if not modal.is_local():  # in a container, where the image is made already and the files are not
        return modal.Image.debian_slim()
    packages = [*requirements(ROOT / "setup.cfg", *EXTRAS), "setuptools"]
    image = (
        modal.Image.debian_slim(python_version="3.11")
        .env({"HF_HOME": WEIGHTS, "PYTHONUNBUFFERED": "1"})
        .add_local_file(ROOT / "constraints.txt", "/src/constraints.txt", copy=True)
        .pip_install(packages, extra_options="--constraint /src/constraints.txt")
        .add_local_dir(ROOT / "src" / "turngym", "/src/src/turngym", copy=True, ignore=CACHES)
    )
    for part in PARTS:
        image = image.add_local_dir(ROOT / part, f"/src/src/turngym/{part}", copy=True, ignore=CACHES)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        image = image.add_local_file(ROOT / name, f"/src/{name}", copy=True)
    return image.run_commands(
        "python -m pip install --no-deps --no-build-isolation /src", "turngym --version"
    ).add_local_python_source("deploy")


app = modal.App("turngym")
runs = modal.Volume.from_name("turngym-runs", create_if_missing=True)
weights = modal.Volume.from_name("turngym-weights", create_if_missing=True)


@app.function(
    image=build_image(),
    volumes={RUNS: runs, WEIGHTS: weights},
    timeout=int(3600 * MOST_HOURS),
    startup_timeout=STARTUP_SECONDS,
    retries=modal.Retries(max_retries=MOST_RETRIES, backoff_coefficient=1.0, initial_delay=5.0),
    max_containers=1,
    single_use_containers=True,
    scaledown_window=2,
)
def train(job: dict[str, Any]) -> dict[str, Any]:
    """Make one attempt at a job, in a container; an exception asks for another attempt."""
    return asdict(attempt(Job(**job), Path(RUNS), Path(WORK), commit=commit))


def commit() -> None:
    """Make what was written to the volume stay; outside of containers it is a folder like any other."""
    if not modal.is_local():
        runs.commit()


def options(wanted: Plan, dollars: float) -> dict[str, Any]:
    """Return what a function is rented with, the longest time included, after so many dollars were spent.

    Cores and memory are limits as well, since more would be charged for.
    """
    seconds = min(wanted.job.attempt_seconds, wanted.job.seconds_left(dollars))
    machine, mib = wanted.machine, 1024 * wanted.machine.memory
    return {
        "gpu": None if machine.gpu == NO_GPU else machine.gpu,
        "cpu": (machine.cpu, machine.cpu),
        "memory": (mib, mib),
        "timeout": math.ceil(seconds - wanted.job.start),
        "retries": modal.Retries(max_retries=wanted.retries, backoff_coefficient=1.0, initial_delay=5.0),
    }


def rent(words: Sequence[str]) -> int:
    """Do what a command line asks for: train, follow the log, fetch the run folder; return the exit code."""
    try:
        wanted = plan(words)
        name = wanted.job.name
        print(wanted, flush=True)
        attempts = attempts_at(runs, name)
        dollars = sum(attempt.dollars for attempt in attempts)
        if finished(runs, name):
            end = FINISHED
        elif wanted.job.seconds_left(dollars) <= wanted.job.shortest:
            end = AT_THE_CAP
        else:
            check_idle(attempts, name)
            end = _train(wanted, dollars)
        folder = fetch(runs, name, wanted.out)
    except InputError as error:
        print(f"turngym: {error}", file=sys.stderr)
        return 2
    if folder is not None:
        print(f"Fetched: {folder}, with what it has cost so far in {LEDGER}")
    if end == AT_THE_CAP:
        print(f"{name} is at the cap of ${wanted.job.max_dollars:g}; the same command with more --max-dollars goes on.")
    return int(end != FINISHED)


def _train(wanted: Plan, dollars: float) -> str:
    """Rent the machine, wait, and return how it ended; where the last attempt ended in an error, tell it."""
    rented = train.with_options(**options(wanted, dollars))
    try:
        return Outcome(**rented.remote(asdict(wanted.job))).end
    except Exception as error:  # noqa: BLE001 - of whatever kind ended the last attempt
        print(f"turngym: the last attempt ended with {type(error).__name__}: {error}. The same command goes on with "
              "what is saved", file=sys.stderr)  # fmt: skip
        return "broken off"


@app.local_entrypoint()
def main(*words: str) -> None:
    """Rent, train, follow and fetch; the options are listed by `python -m deploy.job --help`."""
    if code := rent(words):
        raise SystemExit(code)
