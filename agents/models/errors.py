"""Why a model cannot be used."""

from __future__ import annotations

from turngym._errors import WorkError


class CheckpointError(ValueError):
    """A model folder cannot be used; the message says which and why."""


class UnplayableError(CheckpointError):
    """The architecture of a model cannot be played; the message says why and names some that can."""


class ChatTemplateError(CheckpointError):
    """The chat template cannot be used for play over several turns; the message says why and what to do."""


class NonFiniteError(WorkError, FloatingPointError):
    """Logits, loss or gradients are not finite: the run must stop before the next optimizer step."""


def reason_of(error: Exception) -> str:
    """Return in one line what an error of another library says."""
    first, _, rest = str(error).strip().partition("\n")
    if first.endswith(":"):
        first = f"{first} {rest.strip().partition(chr(10))[0]}"
    return f"{type(error).__name__} {first}".strip() if isinstance(error, KeyError) or not first else first
