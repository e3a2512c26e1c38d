"""How a language model is played: its limits, its temperature and what it sees, in a file beside the weights.

A policy is worth what it is worth only by what it was trained by. So they go where the weights go, and who
loads the weights plays by them unless told otherwise.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

DECODING_FILE = "turngym.json"
"""The name of the file beside the weights; `generation_config.json` is left to the library, whose sampling differs."""


History = Literal["all", "served", "window", "turn"]
"""What a model sees of earlier turns: all as they were sampled, all as the chat template serves them, the last few, or
none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """The limits and the temperature by which a model plays, and what it sees.

    Raises:
        ValueError: A limit is less than 1, the temperature not above 0, or a setting of no known kind.
    """

    context_length: int | None = None
    """Most tokens that the model sees at once; None for what the model itself can hold."""
    max_reply_tokens: int = 16
    """Longest reply, in tokens, the end-of-turn token included."""
    max_thought_tokens: int | None = None
    """Most tokens of a reply before its answer begins; then the opening `<answer>` is written for the model (budget
    forcing, Muennighoff et al., arXiv:2501.19393). For environments with `reasoning=True`; None for no limit."""
    temperature: float = 1.0
    """Sampling temperature."""
    keep_thoughts: bool = False
    """Whether a chat template is accepted that removes earlier thoughts; the stream keeps them as sampled."""
    history: History = "all"
    """What the model sees of earlier turns: "all" as they were sampled, all as the chat template serves them
    ("served"), a "window" of the last `history_turns`, or none ("turn")."""
    history_turns: int = 2
    """How many earlier turns the window holds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("context_length", "max_reply_tokens", "max_thought_tokens", "history_turns"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if type(self.temperature) not in (int, float) or not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature must be above 0, got {self.temperature!r}; use greedy=True for the likeliest token"
            )
        if not isinstance(self.keep_thoughts, bool):
            raise ValueError(f"keep_thoughts must be true or false, got {self.keep_thoughts!r}")
        if self.history not in get_args(History):
            raise ValueError(f"history must be {', '.join(get_args(History)[:-1])} or turn, got {self.history!r}")

    @property
    def window(self) -> int | None:
        """How many earlier turns the model sees; None for all."""
        return {"all": None, "served": None, "window": self.history_turns, "turn": 0}[self.history]

    @property
    def history_words(self) -> str:
        """What the model sees of earlier turns, in words: "history all", "history window 2"."""
        return f"history {self.history}" + (f" {self.history_turns}" if self.history == "window" else "")

    @property
    def history_form(self) -> str:
        """In which rows of tokens a conversation is seen and learned from, in a clause that begins with its name."""
        turns = self.history_turns
        forms: dict[History, str] = {
            "all": "one row of tokens, which only grows, with every reply as it was sampled",
            "served": "a row of tokens for every turn, with the history as the chat template serves it",
            "window": f"a row of tokens for every turn beyond the first {turns + 1}, with the last {turns} exchanges "
                      "as they were sampled",
            "turn": "a row of tokens for every turn, with the present observation alone",
        }  # fmt: skip
        return f"{self.history_words}: {forms[self.history]}"

    def changed(self, **settings: Any) -> Self:
        """Return it with some settings replaced; those that are None stay as they are.

        Raises:
            ValueError: A setting is out of range.
        """
        return replace(self, **{name: value for name, value in settings.items() if value is not None})

    def unlike(self, other: Self) -> list[str]:
        """Return the limits and the like that `other` does not have: "max_reply_tokens 80 (here 16)"."""
        names = ("context_length", "max_reply_tokens", "max_thought_tokens", "temperature")
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        limits = [f"{name} {own} (here {here})" for name, (own, here) in pairs.items() if own not in (None, here)]
        told = f"{self.history_words} (here {other.history_words.removeprefix('history ')})"
        return limits + [told] * (self.history_words != other.history_words)

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
