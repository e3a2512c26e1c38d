"""Stage 1 as a whole: a reference plays the pool, and what stage 2 needs is read from the value store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from turngym.agents.language_model import LanguageModel
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.stage_one.explorers import explore
from turngym.trainers.stage_one.instance_values import NO_ESTIMATES, ValueEstimates
from turngym.trainers.stage_one.sampling import (
    REFERENCE_WEIGHTS,
    StageOneSetup,
    estimate,
    sample_reference,
    store_fingerprint,
)
from turngym.trainers.stage_one.soft_values import Transitions, read_transitions
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.variance import VarianceSplit, bracket, variance_split


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOneResult:
    """What stage 1 of a round leaves to stage 2."""

    pool: Sequence[int]
    """The instances."""
    tokens: int = 0
    """Sampled for it, by the reference and by explorers."""
    reference: str = ""
    """Names the weights of the reference."""
    estimates: ValueEstimates = NO_ESTIMATES
    """V* of the instances."""
    success_rates: Mapping[int, float] = field(default_factory=dict)
    """The share of each instance's episodes that the reference solved."""
    transitions: Transitions | None = None
    """The turns, where stage 2 asks for values of states."""


def run_stage_one(
    reference: LanguageModel,
    values: Path,
    setup: StageOneSetup,
    metrics: Metrics,
    progress: Progress,
    *,
    labels: Mapping[str, int] | None = None,
) -> StageOneResult:
    """Let the reference play the pool into the value store, and read what the configured stage 2 needs of it.

    Args:
        reference: The frozen policy of a round.
        values: The file of its value store.
        setup: What is played.
        metrics: Told about every block of episodes; those of the reference with the `bracket_width` of all that is
            stored, so the last of them has that of the stage.
        progress: Told about every episode.
        labels: Added to the lines in the metrics; they name a later round.
    """
    with ValueStore(values, store_fingerprint(reference, setup.rollouts)) as store:
        for block in sample_reference(reference, store, setup, progress):
            figures = {"bracket_width": bracket_width(store, setup)}
            if (split := filtered_spread(store, setup)) is not None:
                figures["environment_share"] = split.environment_share
            metrics.add("values", {**block, **figures, **(labels or {})})
        for block in explore(reference, store, setup, progress):
            metrics.add("values", {**block, **(labels or {})})
        split = filtered_spread(store, setup)
        if split is not None and split.spread_is_luck:
            progress.note(f"filter by the spread of returns: {split.of_spread}")
        return read_stage_one(store, setup)


def bracket_width(store: ValueStore, setup: StageOneSetup) -> float:
    """Return the mean over the instances of V^E less the mean return, at least 0, in the unit of the returns.

    It is 0 where all returns of an instance are the same: chance decides nothing then, and all estimators agree. Above
    0 it does not tell luck from skill; see `variance.bracket`.
    """
    lower_I, upper_I = bracket(store.returns(), setup.beta_value)
    return float(np.mean(upper_I - lower_I))


def filtered_spread(store: ValueStore, setup: StageOneSetup) -> VarianceSplit | None:
    """Return where the spread of returns comes from; None if no filter goes by it or it could not be measured."""
    if not setup.reads_spread:
        return None
    with suppress(ValueError):  # states whose keys do not hold the turns left
        split = variance_split(read_transitions(store.turns(), reasoning=setup.rollouts.reasoning))
        return None if math.isnan(split.returns) else split
    return None


def read_stage_one(store: ValueStore, setup: StageOneSetup) -> StageOneResult:
    """Read from a full value store what the configured stage 2 needs of it."""
    estimates = estimate(store, setup)
    transitions = None
    if setup.reads_states:
        transitions = read_transitions(store.turns(behaviour=None), reasoning=setup.rollouts.reasoning)
    return StageOneResult(
        tokens=store.sampled_tokens(),
        reference=store.fingerprint[REFERENCE_WEIGHTS],
        estimates=estimates,
        success_rates=store.success_rates(),
        pool=estimates.instances.tolist(),
        transitions=transitions,
    )
