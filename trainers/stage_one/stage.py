"""Stage 1 as a whole: a reference plays the pool, and what stage 2 needs is read from the value store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from turngym.agents.language_model import LanguageModel
from turngym.trainers.automatic_shaping import reference_potential
from turngym.trainers.baselines.states import StateValues
from turngym.trainers.config import TrainConfig
from turngym.trainers.objectives import STATE_BASELINES, find_objective
from turngym.trainers.objectives.filters import GROUP_FILTERS
from turngym.trainers.prompts.curriculum import Tracker, make_tracker
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.stage_one.explorers import explore
from turngym.trainers.stage_one.sampling import REFERENCE_WEIGHTS, estimate, sample_reference, store_fingerprint
from turngym.trainers.stage_one.soft_values import Transitions, read_transitions
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.variance import VarianceSplit, bracket, variance_split
from turngym.trainers.units import value_temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOne:
    """What stage 1 of a round leaves to stage 2."""

    tokens: int = 0
    """Sampled for it, by the reference and by explorers."""
    reference: str = ""
    """Names the weights of the reference."""
    tracker: Tracker
    """Starts from the values of the instances."""
    pool: Sequence[int]
    """The instances."""
    transitions: Transitions | None = None
    """The turns, where stage 2 asks for values of states."""
    potential: StateValues | None = None
    """V* of the states, where rewards are shaped by it."""


def run_stage_one(
    reference: LanguageModel,
    values: Path,
    config: TrainConfig,
    metrics: Metrics,
    progress: Progress,
    *,
    labels: Mapping[str, int] | None = None,
) -> StageOne:
    """Let the reference play the pool into the value store, and read what the configured stage 2 needs of it.

    Args:
        reference: The frozen policy of a round.
        values: The file of its value store.
        config: The run.
        metrics: Told about every block of episodes; those of the reference with the `bracket_width` of all that is
            stored, so the last of them has that of the stage.
        progress: Told about every episode.
        labels: Added to the lines in the metrics; they name a later round.
    """
    with ValueStore(values, store_fingerprint(reference, config)) as store:
        for block in sample_reference(reference, store, config, progress):
            figures = {"bracket_width": bracket_width(store, config)}
            if (split := filtered_spread(store, config)) is not None:
                figures["environment_share"] = split.environment_share
            metrics.add("values", {**block, **figures, **(labels or {})})
        for block in explore(reference, store, config, progress):
            metrics.add("values", {**block, **(labels or {})})
        split = filtered_spread(store, config)
        if split is not None and split.spread_is_luck:
            progress.note(f"filter by the spread of returns: {split.of_spread}")
        return read_stage_one(store, config)


def bracket_width(store: ValueStore, config: TrainConfig) -> float:
    """Return the mean over the instances of V^E less the mean return, at least 0, in the unit of the returns.

    It is 0 where all returns of an instance are the same: chance decides nothing then, and all estimators agree. Above
    0 it does not tell luck from skill; see `luck.bracket`.
    """
    lower_I, upper_I = bracket(store.returns(), value_temperature(config))
    return float(np.mean(upper_I - lower_I))


def filtered_spread(store: ValueStore, config: TrainConfig) -> VarianceSplit | None:
    """Return where the spread of returns comes from; None if no filter goes by it or it could not be measured."""
    if (config.objectives.filter or find_objective(config.astarpo.objective).keep) not in GROUP_FILTERS:
        return None
    with suppress(ValueError):  # states whose keys do not hold the turns left
        split = variance_split(read_transitions(store.turns(), reasoning=config.env.kwargs.get("reasoning", False)))
        return None if math.isnan(split.returns) else split
    return None


def read_stage_one(store: ValueStore, config: TrainConfig) -> StageOne:
    """Read from a full value store what the configured stage 2 needs of it."""
    estimates, success_rates = estimate(store, config), store.success_rates()
    valued, shaped = config.objectives.baseline in STATE_BASELINES, config.shaping.automatic_weight != 0.0
    transitions = None
    if valued or shaped:
        turns = store.turns(behaviour=None)
        transitions = read_transitions(turns, reasoning=config.env.kwargs.get("reasoning", False))
    return StageOne(
        tokens=store.sampled_tokens(),
        reference=store.fingerprint[REFERENCE_WEIGHTS],
        tracker=make_tracker(estimates, success_rates, config),
        pool=estimates.instances.tolist(),
        transitions=transitions if valued else None,
        potential=reference_potential(transitions, config) if transitions and shaped else None,
    )
