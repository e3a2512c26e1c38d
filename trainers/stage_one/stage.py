"""Stage 1 of a round: the reference and the explorers play the pool, then the values are read from the store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.stage_one.exploring.exploration import Exploration
from turngym.trainers.stage_one.instance_values import NO_ESTIMATES, ValueEstimates
from turngym.trainers.stage_one.sampling import (
    REFERENCE_WEIGHTS,
    StageOneSetup,
    estimate,
    sample_reference,
    store_fingerprint,
    stored_returns,
    stored_turns,
)
from turngym.trainers.stage_one.soft_values import Transitions, read_transitions
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.variance import VarianceSplit, bracket, variance_split

NOTED_CUTS = 0.1
"""Share of episodes or replies that were cut short, beyond which that is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOneResult:
    """The result of stage 1 of a round, which stage 2 begins with."""

    pool: Sequence[int]
    """The indices of the instances."""
    tokens: int = 0
    """Tokens sampled by the reference and by explorers."""
    reference: str = ""
    """The fingerprint of the reference's weights."""
    estimates: ValueEstimates = NO_ESTIMATES
    """V* of the instances."""
    success_rates: Mapping[int, float] = field(default_factory=dict)
    """The share of each instance's episodes that the reference solved."""
    transitions: Transitions | None = None
    """The stored turns, where the baseline or the shaping reads values of states."""


def run_stage_one(
    reference: LanguageModel,
    path: Path,
    setup: StageOneSetup,
    metrics: Metrics,
    progress: Progress,
    *,
    labels: Mapping[str, int] | None = None,
) -> StageOneResult:
    """Run or finish stage 1 for a reference, and return its result.

    Args:
        reference: The frozen policy of a round.
        path: The file of the value store.
        setup: The settings of stage 1.
        metrics: Gets a line for every block of episodes. Lines of the reference have the `bracket_width` of everything
            stored so far, so the last of them has that of the whole stage 1.
        progress: Told about every episode.
        labels: Added to these lines, such as {"round": 2}.
    """
    with (
        ValueStore(path, store_fingerprint(reference, setup.rollouts)) as store,
        Exploration(reference, store, setup) as exploration,
    ):
        told: set[str] = set()
        for block in sample_reference(reference, store, setup, progress):
            figures = {"bracket_width": bracket_width(store, setup)}
            if (split := filtered_spread(store, setup)) is not None:
                figures["environment_share"] = split.environment_share
            metrics.add("values", {**block, **figures, **(labels or {})})
            note_cuts(block, progress, told)
        for block in exploration.blocks(progress):
            metrics.add("values", {**block, **(labels or {})})
        split = filtered_spread(store, setup)
        if split is not None and split.spread_is_luck:
            progress.note(f"filter by the spread of returns: {split.of_spread}")
        return read_stage_one(store, setup)


def note_cuts(block: Mapping[str, float], progress: Progress, told: set[str]) -> None:
    """Say where many episodes of a block, or many replies, were cut short; each is told once.

    Args:
        block: The numbers of a block.
        progress: Told.
        told: What was said already; added to.
    """
    said = {
        "cut_episodes": "of the episodes were ended by the context and count as failures; raise model.context_length",
        "cut_replies": "of the replies ended at the limit of tokens; raise model.max_reply_tokens",
    }
    for kind, sentence in said.items():
        if kind not in told and block[kind] > NOTED_CUTS:
            progress.note(f"stage 1: {block[kind]:.0%} {sentence}")
            told.add(kind)


def bracket_width(store: ValueStore, setup: StageOneSetup) -> float:
    """Return the mean over the instances of V^E less the mean return, at least 0, in the unit of the returns.

    It is 0 where all returns of each instance are equal, so that all estimators agree. Above 0 it does not tell luck
    from skill; see `variance.bracket`.
    """
    lower_I, upper_I = bracket(stored_returns(store, setup), setup.beta_value)
    return float(np.mean(upper_I - lower_I))


def environment_share(store: ValueStore, setup: StageOneSetup) -> float:
    """Return the share of chance in the variance of returns, in [0, 1]; 0 where it could not be measured."""
    split = measured_split(store, setup)
    share = math.nan if split is None else split.environment_share
    return min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0


def filtered_spread(store: ValueStore, setup: StageOneSetup) -> VarianceSplit | None:
    """Return the sources of the spread of returns; None if no filter reads the spread or it could not be measured."""
    split = measured_split(store, setup) if setup.reads_spread else None
    return None if split is None or math.isnan(split.returns) else split


def measured_split(store: ValueStore, setup: StageOneSetup) -> VarianceSplit | None:
    """Return the sources of the variance of the reference's returns; None where states do not hold the turns left."""
    with suppress(ValueError):
        return variance_split(read_transitions(stored_turns(store, setup), reasoning=setup.rollouts.reasoning))
    return None


def read_stage_one(store: ValueStore, setup: StageOneSetup) -> StageOneResult:
    """Return the result of a stage 1 that is complete in the value store."""
    estimates = estimate(store, setup)
    transitions = None
    if setup.reads_states:
        turns = stored_turns(store, setup, behaviour=None)
        transitions = read_transitions(turns, reasoning=setup.rollouts.reasoning)
    return StageOneResult(
        tokens=store.sampled_tokens(),
        reference=store.fingerprint[REFERENCE_WEIGHTS],
        estimates=estimates,
        success_rates=store.success_rates(),
        pool=estimates.instances.tolist(),
        transitions=transitions,
    )
