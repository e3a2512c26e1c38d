"""From the words of `turngym sweep` to its runs: algorithms, settings that vary, seeds, and the bases they share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from itertools import product
from pathlib import Path

from turngym.cli.errors import UsageError
from turngym.cli.models import import_trained, require_trained
from turngym.cli.options import Given
from turngym.cli.train import Named, read
from turngym.names import nearest
from turngym.trainers.config import (
    ALGORITHMS,
    TrainConfig,
    algorithm_names,
    algorithm_of,
    find_objective_config,
    sections,
)
from turngym.trainers.launch.configure import configure, own_stem, with_commit
from turngym.trainers.sweeps import PlannedRun, makes_base, state_of

UNREAD_SECTIONS = ("objective", "values")
"""Sections of which an algorithm may not read what another one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """All runs of a sweep."""

    folder: Path
    """The folder of the sweep, in which the folders of its runs lie."""
    bases: list[PlannedRun] = field(default_factory=list)
    """The bases, in the order of the seeds."""
    runs: list[PlannedRun] = field(default_factory=list)
    """The runs: all of the first seed first."""
    notes: list[str] = field(default_factory=list)
    """What to say before they begin."""
    peak: float = 0.0
    """Bytes of memory that the largest new run needs; 0 where that is not known, as of the built-in model."""

    @property
    def ordered(self) -> Iterator[PlannedRun]:
        """Every base, followed by the runs that begin from it."""
        for base in self.bases:
            yield base
            yield from (run for run in self.runs if run.base == base.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the runs of several seeds have in common."""

    config: TrainConfig
    """The configuration of the first seed, without its place."""
    name: str
    """How the names of the runs begin, such as "grpo" or "grpo-learning_rate=0.001"."""
    base: str
    """How the names of their bases begin."""


def plan_sweep(
    named: Named, words: Sequence[Given], *, algorithms: Sequence[str], seeds: Sequence[int], grid: Sequence[str]
) -> SweepPlan:
    """Return the runs of a sweep, of which those that are new are checked as `turngym train` would.

    Args:
        named: What the words name.
        words: The options of `turngym train`.
        algorithms: What to learn by; none for the algorithm of the preset.
        seeds: At least one.
        grid: Settings that vary, each as "section.setting=value,value".

    Raises:
        UsageError: A name or a setting cannot be used.
        InputError: The same.
    """
    for algorithm in algorithms:
        if algorithm not in algorithm_names():
            raise UsageError(f"there is no algorithm {algorithm!r}{nearest(algorithm, algorithm_names(), most=40)}")
    varied = [parsed_axis(text) for text in grid]
    if len({setting for setting, _ in varied}) < len(varied):
        raise UsageError("--grid names a setting twice: write its values behind one another, with commas")
    names = [given.values[0] for given in words if given.flag == "--run.name" and given.values]
    words = [given for given in words if given.flag != "--run.name"]
    notes: list[str] = []
    recipes = list(recipes_of(named, words, list(algorithms) or [""], varied, notes))
    stem = Path(named.preset).stem if named.preset else own_stem(recipes[0].config)
    folder = Path(recipes[0].config.run.root) / (names[-1] if names else f"{stem}-sweep")
    return checked(placed(recipes, seeds, folder, notes))


def parsed_axis(text: str) -> tuple[str, list[str]]:
    """Return the setting and the values of "learning.learning_rate=1e-4,5e-4"; commas in brackets or quotes stay.

    Raises:
        UsageError: It has no such form.
    """
    setting, equals, values = text.partition("=")
    setting = setting.removeprefix("--").replace("-", "_")
    parts, depth, quoted = [""], 0, False
    for letter in values:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    if not equals or "." not in setting or not all(parts):
        raise UsageError(f"--grid takes a setting with its values, such as learning.steps=60,90, not {text!r}")
    if setting in ("run.seed", "run.name", "run.root"):
        raise UsageError(f"--grid cannot vary {setting}, by which runs have their places; seeds are for --seeds")
    return setting, parts


# Configurations -----------------------------------------------------------------------------------------------------


def recipes_of(
    named: Named,
    words: Sequence[Given],
    algorithms: Sequence[str],
    varied: Sequence[tuple[str, list[str]]],
    notes: list[str],
) -> Iterator[Recipe]:
    """Yield what is trained with every seed: each algorithm with each combination of the settings that it reads."""
    known: list[TrainConfig] = []
    flags = [*words, *(axis_given(setting, values[0]) for setting, values in varied)]
    read_by = {algorithm: {given.setting for given in flags if reads(algorithm, given, named, words)}
               for algorithm in algorithms}  # fmt: skip
    anybody = set().union(*read_by.values())
    for algorithm in algorithms:
        unread = {given.setting for given in flags} & anybody - read_by[algorithm]
        if unread:
            notes.append(f"{algorithm} does not read {', '.join(sorted(unread))}, which the others get.")
        kept = [given for given in words if given.setting not in unread]
        axes = [(setting, values) for setting, values in varied if setting not in unread]
        for cell in product(*(values for _, values in axes)):
            chosen = [axis_given(setting, value) for (setting, _), value in zip(axes, cell, strict=True)]
            config = configured(named, algorithm, [*kept, *chosen])
            if config in known:
                raise UsageError(f"{' '.join([algorithm, *cell])} is what was named before: name every run once")
            known.append(config)
            settings = [setting for setting, _ in axes]
            name = algorithm or algorithm_of(config.objective)
            yield Recipe(config=config, name=name + suffix(config, settings),
                         base="base" + suffix(config, [each for each in settings if makes_base(each)]))  # fmt: skip


def configured(named: Named, algorithm: str, words: Sequence[Given]) -> TrainConfig:
    """Return the configuration of `turngym train` with these words, without name and place.

    Raises:
        InputError: A name or a setting cannot be used.
        UsageError: The same.
    """
    written = [word for given in words for word in given.words]

    def settings(chosen: TrainConfig) -> TrainConfig:
        return read(written, chosen).config

    config = configure(named.game or None, preset=named.preset or None, algorithm=algorithm or None, overrides=settings)
    given = {each.setting for each in words}
    if config.model.path:
        require_trained()
        checking = import_trained("turngym.trainers.launch.checking")
        config = checking.with_usual_settings(with_commit(config), named.preset or None, given)
    return replace(config, run=replace(config.run, name=""))


def axis_given(setting: str, value: str) -> Given:
    """Return a setting of the grid with one of its values as an option."""
    flag = f"--{setting.replace('_', '-')}"
    return Given(flag, [value], [f"{flag}={value}"])


def reads(algorithm: str, given: Given, named: Named, words: Sequence[Given]) -> bool:
    """Return whether an algorithm reads a setting, where others may not: one of the objective or of stage 1."""
    section, _, setting = given.setting.partition(".")
    if section not in UNREAD_SECTIONS or not algorithm or (section, setting) == ("values", "instances"):
        return True
    objective = find_objective_config(ALGORITHMS.get(algorithm, (algorithm, {}))[0])
    if section == "objective":
        return setting in {part.name for part in fields(objective)}
    own = [each for each in words if each.setting.partition(".")[0] != "values"
           and (each.setting.partition(".")[0] != "objective" or reads(algorithm, each, named, words))]  # fmt: skip
    return configured(named, algorithm, own).needs_stage_one


def suffix(config: TrainConfig, settings: Sequence[str]) -> str:
    """Return what tells a combination of settings in the name of a folder: "-learning_rate=0.001-steps=60"."""
    last = [setting.rpartition(".")[2] for setting in settings]
    names = [short if last.count(short) == 1 else setting for short, setting in zip(last, settings, strict=True)]
    values: list[str] = []
    for setting in settings:
        section, _, name = setting.partition(".")
        text = str(getattr(sections(config)[section], name))
        plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", text).strip("_")[:40]
        digest = blake2b(text.encode(), digest_size=3).hexdigest()
        values.append(plain if plain == text else f"{plain}_{digest}")
    return "".join(f"-{name}={value}" for name, value in zip(names, values, strict=True))


# Places and checks --------------------------------------------------------------------------------------------------


def placed(recipes: Sequence[Recipe], seeds: Sequence[int], folder: Path, notes: list[str]) -> SweepPlan:
    """Return the runs of every recipe with every seed, and the bases that they begin from, in the folder of a sweep."""
    bases: dict[str, PlannedRun] = {}
    runs = []
    for seed in seeds:
        for recipe in recipes:
            base = f"{recipe.base}-seed{seed}"
            bases.setdefault(base, PlannedRun(config=at(recipe.config, folder, base, seed)))
            config = at(recipe.config, folder, f"{recipe.name}-seed{seed}", seed)
            runs.append(PlannedRun(config=config, base=folder / base))
    return SweepPlan(folder=folder, bases=list(bases.values()), runs=runs, notes=notes)


def at(config: TrainConfig, folder: Path, name: str, seed: int) -> TrainConfig:
    """Return a configuration with a seed and a place in the folder of a sweep."""
    return replace(config, run=replace(config.run, root=str(folder), name=name, seed=seed))


def checked(plan: SweepPlan) -> SweepPlan:
    """Return a plan with the memory that its largest run needs, after what is new was checked as `turngym train` would.

    Of runs that begin from one base, the first is checked in full, which plays the environment, unless that base is
    made already; and one seed stands for all.

    Raises:
        InputError: A run cannot be done; the message says why.
    """
    seed, peaks = plan.runs[0].config.run.seed, [0.0]
    seen = {str(base.folder) for base in plan.bases if state_of(base) == "done"}
    for run in plan.runs:
        if run.config.run.seed != seed or state_of(run) != "new":
            continue
        full = str(run.base) not in seen
        seen.add(str(run.base))
        if not full and not run.config.model.path:
            continue
        training = import_trained("turngym.trainers.launch.training")
        estimate = training.check_run(run.config) if full else training.checked_memory(run.config)
        peaks.append(0.0 if estimate is None else estimate.peak)
    return replace(plan, peak=max(peaks))
