"""Which runs are of one kind: the same task, algorithm and settings, and another seed each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from turngym.benchmarks.comparing.runs import RunRecord
from turngym.trainers.config import sections
from turngym.trainers.launch.resuming import FREE

ALIKE = {"env", "evaluation", "run"}
"""Sections that tell no kind of run from another: what they say of the task is compared apart, and of the rest how and
where a run is done."""
MEANT = {"objective", "values"}
"""Sections in which algorithms differ since they are what they are."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Task:
    """What runs must have in common for their figures to stand in one table."""

    env: str
    """The environment with its arguments."""
    first: int
    """Number of the first test instance."""
    episodes: int
    """How many test instances."""
    version: str
    """What wrote the runs."""

    def __str__(self) -> str:
        """Return the task as a heading."""
        return f"{self.env}, test instances {self.instances}, {self.version}"

    @property
    def instances(self) -> str:
        """The numbers of the test instances."""
        return f"{self.first} to {self.first + self.episodes - 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that differ in their seeds alone."""

    task: Task
    """What they were measured on."""
    algorithm: str
    """What they learned by."""
    settings: str
    """What tells them from other runs of this algorithm: "learning_rate=0.001", or nothing."""
    runs: tuple[RunRecord, ...]
    """One for each seed, in order of the seeds."""

    @property
    def label(self) -> str:
        """The name of the group in tables."""
        return f"{self.algorithm} {self.settings}".strip()


@dataclass(slots=True, kw_only=True)
class Grouped:
    """All groups, and what is to be said of them."""

    groups: list[Group] = field(default_factory=list)
    """By task, then by algorithm and settings."""
    notes: list[str] = field(default_factory=list)
    """Sentences on what was kept apart, left out, or differs."""

    @property
    def tasks(self) -> dict[Task, list[Group]]:
        """The groups of every task."""
        found: dict[Task, list[Group]] = defaultdict(list)
        for group in self.groups:
            found[group.task].append(group)
        return dict(found)


def grouped(runs: Iterable[RunRecord]) -> Grouped:
    """Return runs by task, algorithm and settings; the order in which they come changes nothing."""
    ordered = sorted(runs, key=lambda run: (run.seed, str(run.folder)))
    kinds: dict[tuple[Task, str], list[RunRecord]] = defaultdict(list)
    for run in ordered:
        kinds[task_of(run), run.algorithm].append(run)
    found = Grouped(notes=kept_apart(task for task, _ in kinds))
    for (task, algorithm), members in sorted(kinds.items(), key=lambda kind: kind[0]):
        varying = differing(members)
        by_settings: dict[str, list[RunRecord]] = defaultdict(list)
        for run in members:
            by_settings[written({name: settings_of(run)[name] for name in varying})].append(run)
        for settings, alike in sorted(by_settings.items()):
            group = Group(task=task, algorithm=algorithm, settings=settings, runs=tuple(one_for_each_seed(alike)))
            found.groups.append(group)
            found.notes += _repeated(group, alike)
    for task, groups in found.tasks.items():
        found.notes += _unlike(task, groups)
    found.notes += [f"{run.folder} was changed on the way: {', '.join(run.branches)}." for run in ordered
                    if run.branches]  # fmt: skip
    return found


def task_of(run: RunRecord) -> Task:
    """Return what a run was measured on."""
    evaluation = run.config.evaluation
    return Task(env=run.env, first=evaluation.first, episodes=evaluation.episodes, version=run.version)


def settings_of(run: RunRecord) -> dict[str, Any]:
    """Return the settings that tell kinds of runs, such as "learning.steps", with their values."""
    found: dict[str, Any] = {}
    for name, section in sections(run.config).items():
        if name not in ALIKE:
            found |= {f"{name}.{part.name}": getattr(section, part.name) for part in fields(section)
                      if f"{name}.{part.name}" not in FREE | {"model.date"}}  # fmt: skip
    return found


def differing(runs: Sequence[RunRecord]) -> list[str]:
    """Return the settings that are not the same in all runs, sorted."""
    every = [settings_of(run) for run in runs]
    names = set().union(*every)
    return sorted(name for name in names if any(settings.get(name) != every[0].get(name) for settings in every))


def written(settings: Mapping[str, Any]) -> str:
    """Return settings as text, by their last names where these are unique: "learning_rate=0.001 steps=60"."""
    last = [name.rpartition(".")[2] for name in settings]
    names = [short if last.count(short) == 1 else name for short, name in zip(last, settings, strict=True)]
    return " ".join(f"{name}={value}" for name, value in zip(names, settings.values(), strict=True))


def one_for_each_seed(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the first run of every seed; a second one with the same settings says nothing new."""
    return list({run.seed: run for run in reversed(runs)}.values())[::-1]


# Notes --------------------------------------------------------------------------------------------------------------


def kept_apart(tasks: Iterable[Task]) -> list[str]:
    """Return a sentence for every environment whose runs stand in several tables."""
    by_env: dict[str, set[Task]] = defaultdict(set)
    for task in tasks:
        by_env[task.env].add(task)
    notes = []
    for env, those in sorted(by_env.items()):
        measured, versions = sorted({task.instances for task in those}), sorted({task.version for task in those})
        parts = [f"the test instances {' and '.join(measured)}"] if measured[1:] else []
        parts += [f"{' and '.join(versions)}"] if versions[1:] else []
        if parts:
            notes.append(f"{env} has a table for each of {', and of '.join(parts)}: figures of different tables are "
                         "not compared.")  # fmt: skip
    names: dict[str, set[str]] = defaultdict(set)
    for env in by_env:
        names[env.partition(" (")[0]].add(env)
    notes += [f"{name} was played with different arguments, which are different tasks: {'; '.join(sorted(envs))}."
              for name, envs in sorted(names.items()) if len(envs) > 1]  # fmt: skip
    return notes


def _repeated(group: Group, runs: Sequence[RunRecord]) -> list[str]:
    left = ", ".join(str(run.folder) for run in runs if run not in group.runs)
    if not left:
        return []
    why = f"the same seed and settings as another run of {group.label}; runs of one seed are not independent"
    return [f"Left out: {left}, {why}."]


def _unlike(task: Task, groups: Sequence[Group]) -> list[str]:
    """Return a sentence on settings in which the algorithms of a task differ beyond what they are."""
    runs = [group.runs[0] for group in groups]
    settled = {group.label: settings_of(group.runs[0]) for group in groups}
    staged = all(run.config.needs_stage_one for run in runs)
    names = [name for name in differing(runs)
             if (name.partition(".")[0] not in MEANT or (staged and name.startswith("values.")))
             and not any(f"{name.rpartition('.')[2]}=" in group.settings for group in groups)]  # fmt: skip
    if not names:
        return []
    told = "; ".join(
        f"{name} {', '.join(f'{settings.get(name)} ({label})' for label, settings in settled.items())}"
        for name in names
    )
    return [f"In {task.env} the algorithms also differ in {told}."]
