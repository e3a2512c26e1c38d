"""What a rented run has cost so far, all attempts together: a file that never says less than was spent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from turngym._durable import replacement
from turngym._errors import InputError
from turngym.strict_json import dumps


@dataclass(kw_only=True)
class Attempt:
    """One container that worked on the run."""

    began: str
    """When, in UTC."""
    price: float
    """Dollars per second."""
    seconds: float
    """How long it ran. While it runs, and after it was killed: the seconds that were booked for it in advance."""
    end: str = ""
    """How it ended; empty while it runs, and after it was killed."""

    @property
    def dollars(self) -> float:
        """What it has cost."""
        return self.price * self.seconds

    @property
    def until(self) -> datetime | None:
        """When it is over at the earliest, by what is booked for it; None if it has ended."""
        return None if self.end else datetime.fromisoformat(self.began) + timedelta(seconds=self.seconds)


class Ledger:
    """The attempts of a run, in a file that is whole at any moment.

    Args:
        path: The file; its folder must exist. The file need not.

    Raises:
        InputError: It cannot be read; nothing may be spent then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attempts = parse_attempts(path.read_text(encoding="utf-8"), path) if path.is_file() else []

    @property
    def dollars(self) -> float:
        """What all attempts have cost."""
        return sum(attempt.dollars for attempt in self.attempts)

    def begin(self, price: float, seconds: float) -> None:
        """Note a new attempt, and book its first seconds in advance."""
        began = datetime.now(UTC).isoformat(timespec="seconds")
        self.attempts.append(Attempt(began=began, price=price, seconds=seconds))
        self._write()

    def book(self, seconds: float, end: str = "") -> None:
        """Note how long the running attempt will have run before this is called again, or how it ended."""
        self.attempts[-1].seconds, self.attempts[-1].end = seconds, end
        self._write()

    def _write(self) -> None:
        with replacement(self.path) as unfinished:
            unfinished.write_text(dumps([asdict(each) for each in self.attempts], indent=2) + "\n", encoding="utf-8")


def parse_attempts(text: str, path: Path) -> list[Attempt]:
    """Read the content of a ledger.

    Args:
        text: The content.
        path: Its file, for the message.

    Raises:
        InputError: It is none.
    """
    try:
        attempts = [Attempt(**line) for line in json.loads(text)]
        if not all(0 <= attempt.dollars < float("inf") for attempt in attempts):
            raise ValueError("what was spent is no amount")
        if not all(datetime.fromisoformat(attempt.began).tzinfo for attempt in attempts):
            raise ValueError("an attempt began at no time")
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} does not say what was spent ({error}); nothing more is spent before it does: correct "
                         "it, or give the run another --run.name") from error  # fmt: skip
    return attempts
