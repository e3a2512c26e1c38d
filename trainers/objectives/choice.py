"""What a run's configuration makes of the registry: the objective, its groups, and the numbers of a step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from turngym.trainers.config import TrainConfig
from turngym.trainers.objectives.filters import FILTERS, GROUP_FILTERS
from turngym.trainers.objectives.ppo import GAE_LEVELS
from turngym.trainers.objectives.registry import Objective, Settings, find_objective

STATE_BASELINES = ("state_tracker", "state_vstar")
"""Where the values of every state come from."""
BASELINES = ("tracker", "vstar", *STATE_BASELINES, "batch", "none")
"""Where values may come from."""
GROUP_SIZE = 4
"""Episodes of each prompt where an objective compares them and the configuration leaves their number open."""


def chosen_objective(config: TrainConfig) -> Objective:
    """Return the objective of a run.

    Raises:
        ValueError: A name is unknown, a number cannot be used yet, or group size and batch size do not fit the
            objective.
    """
    stage, numbers = config.astarpo, config.objectives
    objective = find_objective(stage.objective)
    _check_name("objectives.baseline", numbers.baseline, BASELINES)
    _check_name("objectives.filter", numbers.filter, ["", *FILTERS])
    _check_name("objectives.gae_level", numbers.gae_level, GAE_LEVELS)
    known = numbers.baseline in STATE_BASELINES or (numbers.baseline == "none" and config.shaping.automatic_weight)
    if numbers.turn_lambda < 1.0 and objective.name == "astarpo_turn" and not known:
        raise ValueError("objectives.turn_lambda below 1 trusts the value of every state, and baseline "
                         f"{numbers.baseline!r} knows those of the starts alone: set objectives.baseline to "
                         f"{' or '.join(STATE_BASELINES)}, or leave it at 1")  # fmt: skip
    moves = stage.temperature_final not in {0.0, stage.temperature}
    if numbers.turn_lambda < 1.0 and numbers.baseline == "state_vstar" and moves:
        raise ValueError("objectives.turn_lambda below 1 needs V* of the policy's own temperature, and stage 1 plays "
                         "at astarpo.temperature alone: leave astarpo.temperature_final at 0, or set "
                         "objectives.baseline to state_tracker, which follows")  # fmt: skip
    _check_values(objective, config)
    size = group_size(config)
    if objective.groups and size < 2:
        raise ValueError(f"{objective.name} compares episodes of one prompt: astarpo.group_size must be at least 2, "
                         f"or 0 for {GROUP_SIZE}, got {size}")  # fmt: skip
    keep = numbers.filter or objective.keep
    if keep in GROUP_FILTERS and size < 2:
        raise ValueError(
            f"objectives.filter {keep} compares episodes of one prompt: astarpo.group_size must be at least 2"
        )
    if stage.batch_size % size:
        raise ValueError(f"astarpo.batch_size must be a multiple of the group size {size}, got {stage.batch_size}")
    return objective


def needs_stage_one(config: TrainConfig) -> bool:
    """Return whether a run has any use for stage 1: its objective reads values, or its shaping does."""
    reads_values = find_objective(config.astarpo.objective).reads_stage_one(config.objectives)
    return reads_values or config.shaping.automatic_weight != 0.0


def group_size(config: TrainConfig) -> int:
    """Return how many episodes of each prompt a step plays."""
    return config.astarpo.group_size or (GROUP_SIZE if find_objective(config.astarpo.objective).groups else 1)


def step_settings(config: TrainConfig, beta: float, reward_span: float) -> Settings:
    """Return the numbers of a step.

    Args:
        config: The run.
        beta: KL temperature of the step, in units of the reward range.
        reward_span: Width of the reward range.
    """
    numbers = vars(config.objectives)
    beta_value = config.values.beta_value * reward_span
    return Settings(**numbers, beta=beta * reward_span, beta_value=beta_value, reward_span=reward_span)


def _check_values(objective: Objective, config: TrainConfig) -> None:
    if objective.name == "awr" and not config.values.beta_value > 0:
        raise ValueError("awr weighs episodes by exp((R - V) / values.beta_value), which must be above 0, got "
                         f"{config.values.beta_value}: set it, to 0.05 say to imitate little but the best, or take "
                         "--algorithm raft to imitate what succeeded")  # fmt: skip
    if objective.values and config.objectives.baseline == "state_vstar" and config.curriculum.levels:
        raise ValueError("objectives.baseline state_vstar takes all values from stage 1, which plays no easier level: "
                         "set it to state_tracker, which follows them, or leave curriculum.levels empty")  # fmt: skip
    reads_values = objective.values or objective.returns is not None
    if config.objectives.filter == "success" and reads_values and objective.keep != "success":
        raise ValueError(f"objectives.filter success drops episodes for how they ended, and {objective.name} compares "
                         "with values of all episodes, which that biases: leave the filter empty, take one that keeps "
                         f"groups whole ({', '.join(GROUP_FILTERS)}), or --algorithm raft")  # fmt: skip


def _check_name(setting: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ValueError(f"{setting} {name!r} is unknown; did you mean {near!r}?")
