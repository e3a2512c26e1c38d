"""What a step of learning made of its episodes: the values it compared them with, and the advantages of their tokens.

It is written with the episodes of the step, since values that follow what was seen are gone once they have followed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from turngym._durable import replacement
from turngym.strict_json import dumps
from turngym.trainers.run_files import CREDIT


@dataclass(frozen=True, kw_only=True)
class Credit:
    """The values and advantages of the episodes of a step, in their order."""

    objective: str
    """The name of the objective."""
    residual: bool
    """Whether the advantages are the residuals of a regression, the cost of the KL taken off, and not what a policy
    gradient multiplies grad log pi with."""
    values: Sequence[Sequence[float]]  # [B][K]
    """The value before each turn that the objective compared with, in units of reward; empty without values."""
    advantages: Sequence[Sequence[float] | None]  # [B][N of the episode]
    """The advantage of each sampled token, in the order they were sampled; None for an episode that the filter left
    out."""


def credit_file(folder: Path, stem: str) -> Path:
    """Return the file of a run that belongs to a file of episodes, of which the name without its ending is given."""
    return folder / CREDIT / f"{stem}.json"


def write_credit(folder: Path, stem: str, credit: Credit) -> None:
    """Write the credit of a file of episodes."""
    path = credit_file(folder, stem)
    path.parent.mkdir(exist_ok=True)
    with replacement(path) as unfinished:
        unfinished.write_text(dumps(asdict(credit)) + "\n", encoding="utf-8")


def read_credit(folder: Path, stem: str) -> Credit | None:
    """Return the credit of a file of episodes; None where none was written.

    Raises:
        ValueError: The file is damaged.
    """
    path = credit_file(folder, stem)
    try:
        return Credit(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
