"""Where a run's configuration comes from (defaults, a preset, the command line) and how it is written down."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from turngym.cli.errors import UsageError
from turngym.cli.options import JsonObject, JsonObjects, is_objects
from turngym.names import nearest
from turngym.trainers.config import TrainConfig

Section = TypeVar("Section")

CONFIG_FILE = "config.toml"
AT_LEAST_ONE = ("batch_size", "threads", "rollout_slots", "episodes", "hidden_size", "layers", "heads", "steps",
                "instances", "samples", "max_reply_tokens", "context_length", "tokens_per_microbatch",
                "checkpoint_every", "course_steps", "check_episodes", "minibatches", "updates_per_batch",
                "std_steps", "validations", "empty_steps", "retrieval_prompts")  # fmt: skip
"""Counts that nothing works without; every other number may be 0 but not negative."""
AT_MOST_ONE = ("turn_lambda", "filter_share", "filter_mass", "clip_low", "state_discount", "gae_discount", "gae_lambda",
               "turn_discount", "floor", "memory", "std_share", "grad_norm_memory",
               "rollback_learning_rate")  # fmt: skip
"""Shares, discounts, decays and what a learning rate falls by."""
ABOVE_ZERO = ("beta", "beta_final", "temperature", "memory", "rollback_learning_rate")
"""What is divided by, moves geometrically, or would end learning at 0."""
ALL_ABOVE_ZERO = ("explorer_temperatures",)
"""Lists of numbers that are divided by."""
MAY_BE_INFINITE = ("beta_value",)
"""An infinite temperature of V* means the plain mean of the returns."""


# Presets ------------------------------------------------------------------------------------------------------------


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in _presets().iterdir() if entry.name.endswith(".toml"))


def preset_for(env_id: str) -> str | None:
    """Return the first preset that is for an environment, None if it has none."""
    return next((name for name in preset_names() if load_preset(name).env.id == env_id), None)


def load_preset(name: str) -> TrainConfig:
    """Read a preset by its name, or any configuration file by its path.

    Raises:
        UsageError: There is no such preset or file, or it holds something that is no setting.
    """
    if name in preset_names():
        return parse_toml((_presets() / f"{name}.toml").read_text(encoding="utf-8"), source=f"preset {name}")
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return read_config(path)
    raise UsageError(f"there is no preset {name!r}{nearest(name, preset_names())}")


def _presets() -> Any:
    return files("turngym") / "presets"


# TOML ---------------------------------------------------------------------------------------------------------------


def read_config(path: Path) -> TrainConfig:
    """Read a configuration file.

    Raises:
        UsageError: It cannot be read, or holds something that is no setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"the configuration {path} cannot be read: {reason}") from error
    return parse_toml(text, source=str(path))


def parse_toml(text: str, *, source: str) -> TrainConfig:
    """Read a configuration; settings that it does not name keep their defaults.

    Args:
        text: TOML with a table per section.
        source: What to call it in messages.

    Raises:
        UsageError: It is not TOML, or a section, a key or the type of a value is wrong.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not valid TOML: {error}") from error
    return _fill(TrainConfig(), tables, source, "")


def _fill(section: Section, table: Mapping[str, Any], source: str, path: str) -> Section:
    hints = get_type_hints(type(section))
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            what = "setting" if path else "section"
            raise UsageError(f"{source}: there is no {what} {path + key!r}{nearest(key, hints)}")
        if is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise UsageError(f"{source}: {path + key} is a section, not the value {value!r}")
            values[key] = _fill(getattr(section, key), value, source, f"{path}{key}.")
        else:
            values[key] = _typed(value, hints[key], f"{source}: {path}{key}")
    return replace(section, **values)  # type: ignore[type-var]


def _typed(value: Any, hint: Any, place: str) -> Any:
    """Return a value as the type of its setting; whole numbers serve as numbers, booleans never do."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    if hint is float and type(value) is int:
        return float(value)
    if hint in names and type(value) is not hint:
        raise UsageError(f"{place} must be {names[hint]}, not {value!r}")
    if hint == list[float]:
        if not isinstance(value, list):
            raise UsageError(f"{place} must be a list of numbers, not {value!r}")
        return [_typed(number, float, place) for number in value]
    if hint == JsonObjects and not is_objects(value):
        raise UsageError(f"{place} must be a list of tables, not {value!r}")
    if hint == JsonObject and not isinstance(value, dict):
        raise UsageError(f"{place} must be a table, not {value!r}")
    return value


def write_toml(config: TrainConfig) -> str:
    """Return a configuration as TOML with every setting named, which `parse_toml` reads back as it was.

    Raises:
        UsageError: An argument of the environment has no TOML form (a null).
    """
    sections = []
    for name, section in asdict(config).items():
        lines = [f"{key} = {_toml_value(value, f'{name}.{key}')}" for key, value in section.items()]
        sections.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(sections) + "\n"


def _toml_value(value: Any, place: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _toml_text(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item, place) for item in value) + "]"
    if isinstance(value, dict):
        pairs = [f"{_toml_text(key)} = {_toml_value(item, place)}" for key, item in value.items()]
        return "{" + ", ".join(pairs) + "}"
    raise UsageError(f"{place} holds {value!r}, which a configuration cannot hold; leave it out for its default")


def _toml_text(text: str) -> str:
    # A JSON string is a TOML basic string but for one character, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# Values -------------------------------------------------------------------------------------------------------------


def check_values(config: TrainConfig) -> None:
    """Refuse numbers that no run could use.

    Raises:
        UsageError: A number is negative, not finite, or a zero where nothing works without one.
    """
    for section_field in fields(config):
        section = getattr(config, section_field.name)
        for field in fields(section):
            value = getattr(section, field.name)
            place = f"--{section_field.name}.{field.name}".replace("_", "-")
            if field.name in ALL_ABOVE_ZERO and not all(0 < number < math.inf for number in value):
                raise UsageError(f"{place} must be numbers above 0, got {' '.join(map(str, value))}")
            if not isinstance(value, int | float):
                continue
            if not value >= 0 or (math.isinf(value) and field.name not in MAY_BE_INFINITE):
                raise UsageError(f"{place} must be a number of at least 0, got {value}")
            if value == 0 and field.name in ABOVE_ZERO:
                raise UsageError(f"{place} must be above 0")
            if value < 1 and field.name in AT_LEAST_ONE:
                raise UsageError(f"{place} must be at least 1, got {value}")
            if value > 1 and field.name in AT_MOST_ONE:
                raise UsageError(f"{place} must be at most 1, got {value}")


def changed_settings(before: TrainConfig, after: TrainConfig) -> list[str]:
    """Return the names of the settings in which two configurations differ, as "section.key"."""
    old, new = asdict(before), asdict(after)
    return [f"{section}.{key}" for section in old for key in old[section] if old[section][key] != new[section][key]]
