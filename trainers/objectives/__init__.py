"""Objectives by name: functions from log-ratios, rewards and values to one loss per episode."""

from turngym.trainers.objectives import clipped, imitation, policy_gradient, ppo, regression
from turngym.trainers.objectives.astarpo import astarpo, astarpo_turn
from turngym.trainers.objectives.filters import FILTERS
from turngym.trainers.objectives.registry import (
    OBJECTIVES,
    Objective,
    ObjectiveError,
    StepParams,
    TrainingBatch,
    find_objective,
    objective,
    objective_errors,
)

__all__ = [
    "FILTERS",
    "OBJECTIVES",
    "Objective",
    "ObjectiveError",
    "StepParams",
    "TrainingBatch",
    "astarpo",
    "astarpo_turn",
    "clipped",
    "find_objective",
    "imitation",
    "objective",
    "objective_errors",
    "policy_gradient",
    "ppo",
    "regression",
]
