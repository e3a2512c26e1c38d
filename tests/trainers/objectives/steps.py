"""The numbers of a step by hand, and the advantages that belong to them."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any, cast

from turngym.trainers.config import find_objective_config, readers_of
from turngym.trainers.learner import Learner
from turngym.trainers.objectives import StepParams, TrainingBatch, find_objective


def step_params(name: str, *, beta: float = 0.1, reward_span: float = 1.0, **settings: Any) -> StepParams[Any]:
    """Return the numbers of a step of an objective; it is given those of the settings that it has.

    Args:
        name: The objective.
        beta: KL temperature, in units of reward per nat.
        reward_span: Width of the reward range.
        settings: By their names, for one objective or for several.
    """
    assert all(map(readers_of, settings)), f"no objective reads one of {sorted(settings)}"
    kind = find_objective_config(name)
    own = {part.name for part in fields(kind)}
    config = kind(**{key: value for key, value in settings.items() if key in own})
    return StepParams(config=config, beta=beta, reward_span=reward_span)


def with_advantages(batch: TrainingBatch, name: str, step: StepParams[Any]) -> TrainingBatch:
    """Return a batch with its advantages, as a learner works them out; it needs no policy for that."""
    learner = cast("Learner", SimpleNamespace(objective=find_objective(name)))
    return Learner.compute_advantages(learner, batch, step)
