"""Which settings may change while a run learns, and what a file of them asks for.

A file of live settings has the sections and keys of a configuration, and of these the ones that are to change. What it
does not name stays as it is, so a file that lost a line changes nothing. `"auto"` in place of a value gives a setting
back to the configuration.

Three settings begin a schedule. A value that is given for one of them live is held from the next step on: the end of
its schedule becomes the same value, until it is given anew or released by "auto", from where on the schedule goes on as
configured, at the place where the run is. Warm-up and the factor after rollbacks still apply to a learning rate.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from turngym._errors import InputError
from turngym.arguments import suggestion
from turngym.trainers.config import FILTER_SHARES, OBJECTIVE_CONFIGS, TrainConfig, sections, with_overrides
from turngym.trainers.config.toml import toml_value
from turngym.trainers.config.train import unknown_setting
from turngym.trainers.run_files import LIVE_FILE

AUTO = "auto"
"""In place of a value: as the configuration has it."""
ECHO = "echo"
"""The table of the run's answer, which a file may hold that was copied from the echo; it asks for nothing."""
ENDS = {
    "objective.beta": "objective.beta_final",
    "learning.learning_rate": "learning.final_learning_rate",
    "learning.temperature": "learning.temperature_final",
}
"""The settings that begin a schedule, and those that end it."""
LIVE = (
    *ENDS, "learning.fresh_share", "objective.beta_value", "objective.kl_coef", "objective.clip_low",
    "objective.clip_high", "objective.group_size", "objective.filter", "objective.filter_share", "values.beta_value",
    "shaping.potential_weight", "shaping.automatic_weight", "shaping.invalid_penalty", "shaping.format_penalty",
    "shaping.step_cost", "curriculum.min_share",
)  # fmt: skip
"""The settings that may change while a run learns."""
REASONS = {
    "env": "the policy learns this environment",
    "model": "the weights have this shape, and episodes these limits",
    "lora": "the weights have this shape",
    "warm_start": "it is over",
    "values": "stage 1 has been played",
    "objective": "the values and the optimizer belong to this objective",
    "rollout": "the server was asked for at the start",
    "curriculum": "the levels have their own instances",
    "shaping.potential": "the stored episodes have the values of this potential",
    "learning.batch_size": "fresh instances are counted in these batches",
}
"""Why a section, or a setting of its own reason, cannot change while a run learns."""
OTHERWISE = "stop the run, and see whether --resume takes it"
"""What to do about the others."""

Values = Mapping[str, Any]
"""Values of settings by their names, such as "objective.beta"; `AUTO` for what is to be as configured."""


def read_settings(text: str) -> dict[str, Any]:
    """Return the settings that a text asks for, by names such as "objective.beta".

    Args:
        text: TOML with the sections and keys of a configuration.

    Raises:
        InputError: It is no such TOML, or names what is no setting, or one that cannot change while a run learns.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{LIVE_FILE} is not valid TOML: {error}") from error
    known: dict[str, Any] = dict(sections(TrainConfig()))
    asked: dict[str, Any] = {}
    for name, table in tables.items():
        if name == ECHO:
            continue
        if name not in known:
            raise InputError(f"{LIVE_FILE}: there is no section {name!r}{suggestion(name, known)}")
        if not isinstance(table, dict):
            raise InputError(f"{LIVE_FILE}: {name} is a section, not the value {table!r}")
        asked |= {f"{name}.{key}": value for key, value in table.items()}
    for setting in asked:
        _check_name(setting)
    return asked


def _check_name(setting: str) -> None:
    name, _, key = setting.partition(".")
    if setting in LIVE:
        return
    for start, end in ENDS.items():
        if setting == end:
            raise InputError(f"{setting} ends a schedule: give {start}, which is held from the next step on")
    section = sections(TrainConfig())[name]
    objectives = {part.name for kind in OBJECTIVE_CONFIGS.values() for part in fields(kind)}
    if key not in (objectives if name == "objective" else {part.name for part in fields(section)}):
        raise InputError(unknown_setting(section, key))
    reason = REASONS.get(setting) or REASONS.get(name) or OTHERWISE
    raise InputError(f"{setting} cannot change while a run learns: {reason}")


def with_asked(held: Values, asked: Values) -> dict[str, Any]:
    """Return the values that are held once those that a file asks for are taken.

    A filter that reads no share is taken without the share that the filter before it had.

    Args:
        held: The values that are held now.
        asked: Of settings of `LIVE`.
    """
    if "objective.filter" in asked and "objective.filter_share" not in asked:
        unread = asked["objective.filter"] not in (AUTO, *FILTER_SHARES)
        asked = {**asked, "objective.filter_share": None if unread else AUTO}
    return with_values(held, asked)


def with_values(held: Values, values: Values) -> dict[str, Any]:
    """Return the values that are held after a change, with the ends of schedules."""
    after = dict(held)
    for setting, value in values.items():
        for name in (setting, *([ENDS[setting]] if setting in ENDS else [])):
            after.pop(name, None)
            if value != AUTO:
                after[name] = value
    return after


def tuned(config: TrainConfig, held: Values) -> TrainConfig:
    """Return the configuration of a run in which some values are held, checked as at the start of a run.

    Raises:
        InputError: A value cannot be used, or does not suit the others.
    """
    overrides: dict[str, dict[str, Any]] = {}
    for setting, value in held.items():
        name, _, key = setting.partition(".")
        overrides.setdefault(name, {})[key] = value
    changed = with_overrides(config, overrides)
    if "curriculum.min_share" in held and not config.curriculum.levels:
        raise changed.curriculum.refuse("min_share", "is not read without curriculum.levels")
    return changed


def value_of(config: TrainConfig, setting: str) -> Any:
    """Return the value of a setting."""
    name, _, key = setting.partition(".")
    return getattr(getattr(config, name), key)


def reads(config: TrainConfig, setting: str) -> bool:
    """Return whether a run reads a setting: the objective has it, and what it is for is there."""
    name, _, key = setting.partition(".")
    there = {"curriculum": bool(config.curriculum.levels), "values": config.needs_stage_one}
    return there.get(name, True) and hasattr(getattr(config, name), key)


def shown(config: TrainConfig, setting: str) -> str:
    """Return the value of a setting for people; of a schedule that moves, both its ends: "0.05 to 0.005"."""
    value = value_of(config, setting)
    ends = {"objective.beta": getattr(config.objective, "beta_final", None),
            "learning.learning_rate": config.learning.final_rate,
            "learning.temperature": config.learning.final_temperature}  # fmt: skip
    end = ends.get(setting, value)
    text = "none" if value is None else toml_value(value, setting)
    return text if end == value else f"{text} to {toml_value(end, setting)}"
