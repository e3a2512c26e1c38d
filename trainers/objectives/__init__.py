"""Objectives by name: plain functions from log-ratios, rewards and values to one loss per episode."""

from turngym.trainers.objectives import clipped, imitation, policy_gradient, ppo, regression
from turngym.trainers.objectives.astarpo import astarpo, astarpo_turn
from turngym.trainers.objectives.choice import (
    STATE_BASELINES,
    chosen_objective,
    group_size,
    needs_stage_one,
    step_settings,
)
from turngym.trainers.objectives.filters import FILTERS
from turngym.trainers.objectives.registry import OBJECTIVES, Objective, Samples, Settings, find_objective

__all__ = [
    "FILTERS",
    "OBJECTIVES",
    "STATE_BASELINES",
    "Objective",
    "Samples",
    "Settings",
    "astarpo",
    "astarpo_turn",
    "chosen_objective",
    "clipped",
    "find_objective",
    "group_size",
    "imitation",
    "needs_stage_one",
    "policy_gradient",
    "ppo",
    "regression",
    "step_settings",
]
