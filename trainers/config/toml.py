"""A configuration as TOML: a table per section, read strictly, written with every setting named."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from turngym._errors import InputError
from turngym._version import __version__
from turngym.arguments import suggestion
from turngym.trainers.config.game import EnvConfig
from turngym.trainers.config.objective_parts import ObjectiveConfig
from turngym.trainers.config.objectives import find_objective_config
from turngym.trainers.config.section import Section
from turngym.trainers.config.train import TrainConfig, sections, with_settings

VERSION, NAME = "version", "name"
NEEDED = {("env", "id"), ("env", "kwargs")}
"""Settings without which nothing can be played."""


class ConfigError(InputError):
    """A configuration that cannot be used; the message is one sentence."""


def parse_toml(text: str, *, source: str) -> TrainConfig:
    """Read a configuration; settings that it does not name keep their defaults.

    Args:
        text: TOML with a table per section; `name` in the table of the objective says which one it is.
        source: What to call it in messages.

    Raises:
        ConfigError: It is not TOML, a section or a key is unknown, or a value cannot be used.
    """
    tables = _tables(text, source)
    tables.pop(VERSION, None)
    return _filled(tables, source)


def written_by(text: str, *, source: str) -> str:
    """Return the version that wrote a configuration, such as "turngym 0.2.0"; "an earlier version" without one.

    Raises:
        ConfigError: It is not TOML.
    """
    tables = _tables(text, source)
    return f"turngym {tables[VERSION]}" if VERSION in tables else "an earlier version"


def names_env(text: str, *, source: str) -> bool:
    """Return whether a configuration names an environment, as that of every run does.

    Raises:
        ConfigError: It is not TOML.
    """
    env = _tables(text, source).get("env")
    return isinstance(env, dict) and isinstance(env.get("id"), str)


def env_of(text: str, *, source: str) -> str | None:
    """Return the id of the environment that a configuration is for; None where it says something else there.

    Raises:
        ConfigError: It is not TOML.
    """
    env = _tables(text, source).get("env", {})
    named = env.get("id", EnvConfig.id) if isinstance(env, dict) else None
    return named if isinstance(named, str) else None


def settings_named(text: str, *, source: str) -> frozenset[str]:
    """Return the settings that a configuration names, such as "learning.steps".

    Raises:
        ConfigError: It is not TOML.
    """
    tables = _tables(text, source).items()
    return frozenset(f"{section}.{name}" for section, table in tables if isinstance(table, dict) for name in table)


def imported_by(text: str, *, source: str) -> tuple[list[str], str]:
    """Return the modules that a configuration imports, which may register its objective, and the folder they lie in.

    Raises:
        ConfigError: It is not TOML, `run.imports` is no list of texts, or `run.import_folder` no text.
    """
    run = _tables(text, source).get("run", {})
    imports, folder = (run.get("imports", []), run.get("import_folder", "")) if isinstance(run, dict) else ([], "")
    if not isinstance(imports, list) or not all(isinstance(name, str) for name in imports):
        raise ConfigError(f"{source}: run.imports must be a list of texts, got {imports!r}")
    if not isinstance(folder, str):
        raise ConfigError(f"{source}: run.import_folder must be a text, got {folder!r}")
    return imports, folder


def parse_known(text: str, *, source: str) -> tuple[TrainConfig, list[str]]:
    """Read what this version knows of a configuration of any version.

    Returns:
        The configuration, with defaults for the rest; and the names of the settings and sections that are unknown here
        or whose values cannot be used.

    Raises:
        ConfigError: It is not TOML, or what it says of the environment's id and arguments cannot be used.
    """
    tables = _tables(text, source)
    tables.pop(VERSION, None)
    passed_over: list[str] = []
    known = {name: _known_settings(name, table, source, passed_over) for name, table in tables.items()}
    filled: dict[str, Any] = {name: section for name, section in known.items() if section is not None}
    config = TrainConfig()
    try:
        return replace(config, **filled), passed_over
    except ValueError:  # sections do not go together by the rules of this version
        for name, section in filled.items():
            try:
                config = replace(config, **{name: section})
            except ValueError:
                passed_over.append(name)
    return config, passed_over


def _known_settings(name: str, table: Any, source: str, passed_over: list[str]) -> Section | None:
    """Return a section with the settings that can be used, None for an unknown one; the others' names are noted."""
    section = sections(TrainConfig()).get(name)
    if section is None or not isinstance(table, dict):
        if name == "env":
            raise ConfigError(f"{source}: {name} is a section, not the value {table!r}")
        passed_over.append(name)
        return None
    values = dict(table)
    try:
        section = _objective(values) if name == "objective" else section
    except ValueError:
        passed_over.append(name)
        return None
    known = {part.name for part in fields(section)}
    try:
        usable = with_settings(section, {key: value for key, value in values.items() if key in known})
    except ValueError:
        return _one_by_one(section, values, source, passed_over)
    passed_over += [f"{name}.{key}" for key in values if key not in known]
    return usable


def _one_by_one(section: Section, values: Mapping[str, Any], source: str, passed_over: list[str]) -> Section:
    """Return a section with each of the settings that can be used, where not all of them can."""
    for key, value in values.items():
        try:
            section = with_settings(section, {key: value})
        except ValueError as error:
            if (section.section, key) in NEEDED:
                raise ConfigError(f"{source}: {error}") from error
            passed_over.append(f"{section.section}.{key}")
    return section


def _tables(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no TOMLDecodeError
        raise ConfigError(f"{source} is not valid TOML: {error}") from error


def _filled(tables: Mapping[str, Any], source: str) -> TrainConfig:
    default = TrainConfig()
    known = sections(default)
    filled: dict[str, Any] = {}
    try:
        for name, table in tables.items():
            if name not in known:
                raise ValueError(f"there is no section {name!r}{suggestion(name, known)}")
            if not isinstance(table, dict):
                raise ValueError(f"{name} is a section, not the value {table!r}")
            values = dict(table)
            section = _objective(values) if name == "objective" else known[name]
            filled[name] = with_settings(section, values)
        return replace(default, **filled)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


def _objective(values: dict[str, Any]) -> ObjectiveConfig:
    """Return the objective that a table names, at its defaults; the name is taken out of the table."""
    name = values.pop(NAME, TrainConfig().objective.name)
    if not isinstance(name, str):
        raise ValueError(f"objective.name must be a text, got {name!r}")
    return find_objective_config(name)()


def write_toml(config: TrainConfig) -> str:
    """Return a configuration as TOML with every setting named, which `parse_toml` reads back as it was.

    What is None has no form in TOML and is left out, which means the same.

    Raises:
        ConfigError: An argument of the environment has no TOML form (a null).
    """
    parts = [f"{VERSION} = {_text(__version__)}"]
    for name, section in sections(config).items():
        lines = [f"[{name}]"]
        if isinstance(section, ObjectiveConfig):
            lines.append(f"{NAME} = {_text(section.name)}")
        values = {part.name: getattr(section, part.name) for part in fields(section)}
        lines += [f"{key} = {toml_value(value, f'{name}.{key}')}" for key, value in values.items() if value is not None]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def toml_value(value: Any, place: str) -> str:
    """Return a value as TOML.

    Args:
        value: The value.
        place: What to call it in messages.

    Raises:
        ConfigError: It has no TOML form.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item, place) for item in value) + "]"
    if isinstance(value, dict):
        pairs = [f"{_text(key)} = {toml_value(item, place)}" for key, item in value.items()]
        return "{" + ", ".join(pairs) + "}"
    raise ConfigError(f"{place} holds {value!r}, which a configuration cannot hold; leave it out for its default")


def _text(text: str) -> str:
    # A JSON string is a TOML basic string but for one character, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
