"""The form in which a line of the metrics is sent to a tracker, and the list of lines that were sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def flat_numbers(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line, those of tables within it as "levels/0/success".

    None, text and lists of numbers are left out: such a list is a curve of its own, and no point of one.
    """
    flat: dict[str, float] = {}
    for name, value in numbers.items():
        if isinstance(value, bool | int | float):
            flat[name] = float(value)
        elif isinstance(value, list | tuple):
            value = {str(place): part for place, part in enumerate(value) if isinstance(part, Mapping)}  # noqa: PLW2901
        if isinstance(value, Mapping):
            flat |= {f"{name}/{inner}": number for inner, number in flat_numbers(value).items()}
    return flat


def flat_settings(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings of a configuration as "section.key" and text."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", text) for inner, text in flat_settings(value))
        else:
            yield name, str(value)


def group(phase: str, numbers: Mapping[str, Any]) -> str:
    """Return the prefix of the names of a line's numbers: the phase, for an alarm with its kind, as "alarm/kl_tax"."""
    return f"{phase}/{numbers['alarm']}" if "alarm" in numbers else phase


def line_key(phase: str, step: int, numbers: Mapping[str, Any]) -> str:
    """Return a key that no other line of the run has."""
    return f"{group(phase, numbers)} step {step} rollbacks {numbers.get('rollbacks', 0)}"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown whose cells may hold any text."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").splitlines())


class Sent:
    """The keys of everything that a tracker was sent, in a file that a resumed run reads.

    Args:
        path: The file; it and its folder need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._keys = set(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else set()
        self._unsaved: list[str] = []

    def __contains__(self, key: str) -> bool:
        """Return whether a key was sent."""
        return key in self._keys

    def __len__(self) -> int:
        """Return how many keys were sent."""
        return len(self._keys)

    def add(self, key: str) -> None:
        """Note a key as sent."""
        self._keys.add(key)
        self._unsaved.append(key)

    def save(self) -> None:
        """Append the keys noted since the last save to the file; called when a crash cannot lose what was sent."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{key}\n" for key in self._unsaved))
        self._unsaved.clear()
