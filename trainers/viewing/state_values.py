"""V* before each turn, from the episodes of stage 1; like `scoring`, it needs torch."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from turngym.agents.episode import Episode
from turngym.trainers.baselines.states import StateValues, stage_one_states, states_of
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.run_folder import known_config
from turngym.trainers.live.changes import held_after, held_in_step, read_changes
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import CONFIG_FILE, LIVE_CHANGES_FILE, METRICS_FILE, store_name
from turngym.trainers.schedules import Schedule
from turngym.trainers.stage_one.sampling import StageOneSetup
from turngym.trainers.stage_one.soft_values import read_transitions
from turngym.trainers.stage_one.store import ValueStore

BETA_VALUE = "values.beta_value"
"""The setting that is the temperature of V*."""


def values_before_turns(
    folder: Path, config: TrainConfig, stem: str, episodes: list[Episode]
) -> list[list[float | None]]:
    """Return V* of stage 1 before each turn, at `beta_value_of` the file, in units of reward; None where it knows none.

    A state has a value if stage 1 has met it, whoever played. The values are those that baselines of states begin with.

    Args:
        folder: The run's.
        config: Its configuration.
        stem: The name of the file of episodes, which tells the round; the test follows the last round.
        episodes: Its episodes.

    Raises:
        ValueError: The run has no values, or they cannot be read; the message is part of a sentence.
    """
    if not config.needs_stage_one:
        raise ValueError(f"{config.objective.name} does without stage 1 in this run")
    path = folder / store_name(_round_of(folder, config, stem))
    if not path.is_file():
        raise ValueError(f"there is no {path.name}")
    beta_value = beta_value_of(folder, config, stem)
    states = _states(path, path.stat().st_mtime_ns, (folder / CONFIG_FILE).stat().st_mtime_ns, beta_value)
    return [[states.value(state) if states.known(state) else None for state in states_of(one)] for one in episodes]


def beta_value_of(folder: Path, config: TrainConfig, stem: str) -> float:
    """Return the temperature of V* in the step that a file of episodes is of, in units of the reward range.

    It is `values.beta_value`, or what that was held at live; in other files than those of a step, at the end.

    Args:
        folder: The run's.
        config: Its configuration.
        stem: The name of the file.

    Raises:
        ValueError: The record of live changes is damaged.
    """
    changes = read_changes(folder / LIVE_CHANGES_FILE)
    held = held_after(changes)
    if changes and (step := _step_of(stem)):
        lines = Metrics(folder / METRICS_FILE).lines()
        taken = [line.get("rollbacks", 0) for line in lines if line["phase"] == "learning" and line.get("step") == step]
        held = held_in_step(changes, step, max(taken, default=0))
    return float(held.get(BETA_VALUE, config.values.beta_value))


def _step_of(stem: str) -> int | None:
    """Return the step that a file of episodes is of, None for one of a test."""
    step = re.fullmatch(r"train_(\d+)", stem)
    return int(step[1]) if step else None


def _round_of(folder: Path, config: TrainConfig, stem: str) -> int:
    """Return the round that a file of episodes belongs to."""
    if step := _step_of(stem):
        schedule = Schedule(config.learning, config.objective, config.monitors.rollback_learning_rate)
        return schedule.round_of(step)
    number = 1
    while (folder / store_name(number + 1)).is_file():
        number += 1
    return number


@lru_cache(maxsize=8)
def _states(path: Path, _stored: int, _configured: int, beta_value: float) -> StateValues:
    """Return the values of the states of a store, read again once it or the configuration beside it has changed."""
    setup = StageOneSetup.of(known_config(path.parent))
    with ValueStore(path, None) as store:
        transitions = read_transitions(store.turns(behaviour=None), reasoning=setup.rollouts.reasoning)
    return stage_one_states(transitions, beta_value * setup.rollouts.reward_span, setup.values)
