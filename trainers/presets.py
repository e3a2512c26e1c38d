"""Presets by name: the TOML texts of configurations that come with turngym, and of those that other code adds."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from turngym.names import check_name, enter, find

PRESETS: dict[str, str] = {
    entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
    for entry in sorted((files("turngym") / "presets").iterdir(), key=lambda entry: entry.name)
    if entry.name.endswith(".toml")
}
"""The text of every preset."""


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


def _read(name: str, file: Path | Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"the file {file} of the preset {name!r} cannot be read: {reason}") from error
