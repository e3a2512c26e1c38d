"""The phases of a run, each with what lives at the same time in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from turngym.trainers.memory.sizes import Part, RunSizes


def phases_of(run: RunSizes) -> Iterator[Part]:
    """Yield the phases of a run, each with what it takes beside one network with one adapter."""
    config = run.config
    if run.gathered:
        yield "loading", {"gathered weights": run.gathered, "reference": 0 if run.rank else run.learned}
    if config.warm_start.enabled:
        yield from _warm_start(run)
    if config.needs_stage_one:
        yield from _beside({"explorers": _explorers(run)}, run.play("stage 1", config.run.rollout_slots))
    yield from _stage_two(run)


def _explorers(run: RunSizes) -> int:
    """Return what explorers take beside the reference: models, and in processes of their own a copy of it, and play."""
    values, slots = run.config.values, run.config.run.rollout_slots
    models = run.weights * min(2, len(values.explorer_models))  # one while it is replaced
    if not values.explorers or not values.explorer_processes or run.processes > 1:
        return models
    play = max(sum(of_phase.values()) for _, of_phase in run.play("stage 1", slots))
    return values.explorer_processes * (models + run.weights + play)


def _warm_start(run: RunSizes) -> Iterator[Part]:
    """Yield the phases of cloning, which keeps weights and optimizers of the turning point as well."""
    config = run.config.warm_start
    turning_point = run.learned + run.muon
    stays = {"optimizer": run.muon, "turning point": turning_point}
    learning = {**stays, "gradients": run.learned}
    tokens = max(run.context, min(run.config.learning.tokens_per_microbatch, config.batch_size * run.context))
    yield from _beside(learning, run.learning("warm start", tokens, again=run.recomputes))
    yield "warm start: optimizer", {**learning, "working space": run.muon_step}
    if config.max_corrections and not config.demonstrations:
        yield "warm start: correction", {**stays, "copies": turning_point}
    if run.device == "cpu" and _copies(run):
        yield "warm start: checkpoint", {**stays, "copies": run.muon + turning_point}
    yield from _beside(stays, run.play("warm start: validation", run.config.run.rollout_slots))


def _stage_two(run: RunSizes) -> Iterator[Part]:
    """Yield the phases of stage 2 and of the evaluation.

    The cache of the agent stays while the policy learns, and gradients stay while it plays. The first reference is
    kept to the end, beside the present one.
    """
    config, learning = run.config, run.config.learning
    slots, fewer = config.run.rollout_slots, min(config.run.rollout_slots, run.part(learning.batch_size))
    rounds = math.ceil(learning.steps / (learning.reset_every or learning.steps))
    stays = {"reference": min(rounds, 2) * run.learned, "gradients": run.learned, "optimizer": run.adamw}
    cached = {**stays, "cache": run.cache(fewer)}
    yield from _beside(stays, run.play("stage 2, play", fewer))
    parts = run.learning("stage 2, learning", _microbatch(run), again=run.recomputes)
    yield from _beside(cached, parts)
    yield "stage 2, optimizer", {**cached, "working space": run.adamw_step}
    if run.device == "cpu" and _copies(run):
        yield "stage 2, checkpoint", {**cached, "copies": run.adamw}
    if config.evaluation.validate_every is not None:
        yield from _beside({**stays, "cache of stage 2": run.cache(fewer)}, run.play("stage 2, validation", slots))
    if rounds > 1 and config.needs_stage_one:
        yield from _beside(stays, run.play("stage 1 of later rounds", slots))
    if rounds > 2:
        yield "reset of the reference", {**stays, "copies": run.learned, "gathered weights": run.gathered}
    yield from _beside(stays, run.play("evaluation", slots))


def _copies(run: RunSizes) -> bool:
    """Return whether a checkpoint copies what it saves; parts are written as they are, one at a time."""
    return run.processes == 1 or run.rank > 0


def _microbatch(run: RunSizes) -> int:
    """Return the padded tokens of the largest micro-batch of stage 2, which holds whole episodes, or whole groups."""
    learning, objective = run.config.learning, run.config.objective
    paired = objective.needs_pairs
    batch = math.ceil(learning.batch_size / learning.minibatches) * run.context
    return max(run.context * (objective.group_size if paired else 1), min(learning.tokens_per_microbatch, batch))


def _beside(stays: Mapping[str, int], parts: Iterator[Part]) -> Iterator[Part]:
    """Yield phases together with what stays in all of them."""
    for name, of_phase in parts:
        yield name, {**stays, **of_phase}
