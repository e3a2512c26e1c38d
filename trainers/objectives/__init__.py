"""Objectives by name: plain functions from log-ratios, rewards and values to one loss per episode."""

from turngym.trainers.objectives.astarpo import astarpo, astarpo_turn
from turngym.trainers.objectives.registry import OBJECTIVES, Objective, Samples, find_objective

__all__ = ["OBJECTIVES", "Objective", "Samples", "astarpo", "astarpo_turn", "find_objective"]
