"""How a language model is played: its limits and its temperature, in a file beside the weights.

A policy is worth what it is worth only by the limits that it was trained by. So they go where the weights go, and who
loads the weights plays by them unless told otherwise.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

DECODING_FILE = "turngym.json"
"""The name of the file beside the weights; `generation_config.json` is left to the library, whose sampling differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """The limits and the temperature by which a model plays.

    Raises:
        ValueError: A limit is less than 1, or the temperature not above 0.
    """

    context_length: int | None = None
    """Longest token stream of an episode; None for what the model itself can hold."""
    max_reply_tokens: int = 16
    """Longest reply, in tokens, the end-of-turn token included."""
    temperature: float = 1.0
    """Sampling temperature."""
    keep_thoughts: bool = False
    """Whether a chat template is accepted that removes earlier thoughts; the stream keeps them as sampled."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("context_length", "max_reply_tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if type(self.temperature) not in (int, float) or not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature must be above 0, got {self.temperature!r}; use greedy=True for the likeliest token"
            )
        if not isinstance(self.keep_thoughts, bool):
            raise ValueError(f"keep_thoughts must be true or false, got {self.keep_thoughts!r}")

    def changed(self, **settings: Any) -> Self:
        """Return it with some settings replaced; those that are None stay as they are.

        Raises:
            ValueError: A setting is out of range.
        """
        return replace(self, **{name: value for name, value in settings.items() if value is not None})

    def unlike(self, other: Self) -> list[str]:
        """Return the limits and the temperature that `other` does not have: "max_reply_tokens 80 (here 16)"."""
        names = ("context_length", "max_reply_tokens", "temperature")
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return [f"{name} {own} (here {here})" for name, (own, here) in pairs.items() if own not in (None, here)]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what is kept beside the weights in a folder; None where nothing is.

        Raises:
            ValueError: The file is damaged.
        """
        path = folder / DECODING_FILE
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            known = {part.name: record[part.name] for part in fields(cls) if part.name in record}
            if not known:
                raise ValueError("it names no limit")
            return cls(**known)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path} cannot be read: {error}; delete it to play by other limits") from error

    def save(self, folder: Path) -> None:
        """Write the file into a folder of weights."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (folder / DECODING_FILE).write_text(text, encoding="utf-8")
