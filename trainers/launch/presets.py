"""Presets by name: the TOML texts of configurations that come with turngym, and of those that other code adds."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from turngym._errors import InputError
from turngym.names import check_name, enter, find, nearest
from turngym.plugins import require_plugins
from turngym.trainers.config import ConfigError, TrainConfig, env_of, imported_by, parse_toml, settings_named

PRESETS: dict[str, str] = {
    entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
    for entry in sorted((files("turngym") / "presets").iterdir(), key=lambda entry: entry.name)
    if entry.name.endswith(".toml")
}
"""The text of every preset."""
SHIPPED = tuple(PRESETS)
"""The presets of the package, as against those that other code registers."""


def register_preset(name: str, source: str | Path | Traversable) -> None:
    """Register a preset, so that `turngym train --preset` knows it by its name.

    What the text holds is checked when it is used.

    Args:
        name: Letters, digits, "-" and "_".
        source: A file, such as `importlib.resources.files("my_games") / "guess.toml"`, or the text of one.

    Raises:
        ValueError: The name cannot be used or belongs to another preset, or the file cannot be read.
    """
    check_name("preset", name)
    text = source if isinstance(source, str) else _read(name, source)
    if text.endswith(".toml"):
        raise ValueError(f"the preset {name!r} is not the text of a configuration but {text!r}; give a file as a Path")
    enter(PRESETS, "preset", name, text)


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    return sorted(PRESETS)


def preset_text(name: str) -> str:
    """Return the TOML text of a preset.

    Raises:
        ValueError: There is none of this name; the message names the nearest.
    """
    return find(PRESETS, "preset", name)


def preset_for(env_id: str) -> str | None:
    """Return the first preset that is for an environment, None if it has none; what else it holds is not checked."""
    return next((name for name in preset_names() if preset_env(name) == env_id), None)


def load_preset(name: str) -> TrainConfig:
    """Read a preset by its name, or any configuration file by its path, and import what a file imports.

    Raises:
        InputError: There is no such preset or file, or it holds something that is no setting or no module.
    """
    if name in PRESETS:
        return parse_toml(preset_text(name), source=f"preset {name}")
    path = Path(name)
    if "\0" not in name and (path.suffix == ".toml" or path.is_file()):
        text = read_config_text(path)
        require_plugins(*imported_by(text, source=str(path)))
        return parse_toml(text, source=str(path))
    raise InputError(f"there is no preset {name!r}{nearest(name, preset_names())}")


def read_config_text(path: Path) -> str:
    """Return the text of a configuration file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"the configuration {path} cannot be read: {reason}") from error


def named_for_checkpoints(preset: str | None, env_id: str) -> frozenset[str]:
    """Return the settings that a preset or a configuration file names for checkpoints, such as "model.context_length".

    Args:
        preset: The preset, or the file, all of whose settings count; None for the preset of the environment. What a
            preset names that has no `model.path` is for the built-in model.
        env_id: The environment.
    """
    preset = preset or preset_for(env_id)
    if preset is None:
        return frozenset()
    text = PRESETS[preset] if preset in PRESETS else read_config_text(Path(preset))
    named = settings_named(text, source=preset)
    return named if preset not in PRESETS or "model.path" in named else frozenset()


def preset_env(name: str) -> str | None:
    """Return the environment of a preset; None where that cannot be read, which is no matter of other environments."""
    try:
        return env_of(preset_text(name), source=f"preset {name}")
    except ConfigError:
        return None


def _read(name: str, file: Path | Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"the file {file} of the preset {name!r} cannot be read: {reason}") from error
