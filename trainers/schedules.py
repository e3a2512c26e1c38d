"""Where a learner stands in its run, and what the schedules say there."""

from __future__ import annotations

import math

from turngym.trainers.config import TrainConfig
from turngym.trainers.learner import Learner
from turngym.trainers.rollouts import final_temperature


def finished(learner: Learner, config: TrainConfig) -> bool:
    """Whether all steps are taken, or the tokens that may be generated are spent."""
    stage = config.astarpo
    return learner.step >= stage.steps or 0 < stage.max_tokens <= learner.generated_tokens


def step_of_round(learner: Learner, config: TrainConfig) -> int:
    """Return the steps taken since the reference was last reset."""
    return learner.step - (learner.round - 1) * config.astarpo.reset_every


def round_over(learner: Learner, config: TrainConfig) -> bool:
    """Whether the reference is to be reset before the next step."""
    return 0 < config.astarpo.reset_every <= step_of_round(learner, config)


def position(learner: Learner, config: TrainConfig) -> float:
    """Return where the schedules stand, from 0 to 1: in steps, or in tokens if these will be spent first."""
    stage = config.astarpo
    position = learner.step / max(1, stage.steps - 1)
    if stage.max_tokens:
        spent = learner.generated_tokens - learner.stage_one_tokens
        position = max(position, spent / (stage.max_tokens - learner.stage_one_tokens))
    return position


# Schedules -------------------------------------------------------------------------------------------------------


def scheduled_beta(config: TrainConfig, done: float) -> float:
    """Return the KL temperature in units of the reward range: geometrically from `beta` to `beta_final`."""
    stage = config.astarpo
    return math.exp((1 - done) * math.log(stage.beta) + done * math.log(stage.beta_final))


def scheduled_temperature(config: TrainConfig, done: float) -> float:
    """Return the sampling temperature of a step: linearly from `temperature` to `temperature_final`.

    A step plays, learns and asks the reference at one temperature, so what it has sampled is on-policy.
    """
    first = config.astarpo.temperature
    return first + done * (final_temperature(config) - first)


def scheduled_learning_rate(config: TrainConfig, step: int, done: float, rollbacks: int = 0) -> float:
    """Return the learning rate of a step: linear warm-up, then a linear fall to `final_learning_rate`.

    Every rollback so far multiplies it by `monitors.rollback_learning_rate`.
    """
    stage = config.astarpo
    warmup = min(1.0, (step + 1) / max(1, stage.warmup_steps))
    scale = config.monitors.rollback_learning_rate**rollbacks
    return scale * warmup * ((1 - done) * stage.learning_rate + done * stage.final_learning_rate)


def current_beta(learner: Learner, config: TrainConfig) -> float:
    """Return `scheduled_beta` of the step that the learner stands before."""
    return scheduled_beta(config, position(learner, config))


def current_temperature(learner: Learner, config: TrainConfig) -> float:
    """Return `scheduled_temperature` of the step that the learner stands before."""
    return scheduled_temperature(config, position(learner, config))


def current_learning_rate(learner: Learner, config: TrainConfig) -> float:
    """Return `scheduled_learning_rate` of the step that the learner stands before."""
    return scheduled_learning_rate(config, learner.step, position(learner, config), learner.rollbacks)
