"""Runs on a volume, seen from here: what they have cost, and their run folders, copied to this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from deploy.attempt import COPY, LEDGER
from deploy.ledger import Attempt, parse_attempts
from turngym._durable import replacement
from turngym._errors import InputError
from turngym.trainers.run_files import RESULT_FILE
from turngym.trainers.run_lock import check_unused

FILE = 1
"""The type of an entry that is a file."""


class Volume(Protocol):
    """What is asked of a volume of the service; its client has more."""

    def iterdir(self, path: str, *, recursive: bool = True) -> Iterator[Any]:
        """Yield entries with `path` and `type`, of everything below a path."""

    def read_file(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file, or raise FileNotFoundError."""


def attempts_at(volume: Volume, name: str) -> list[Attempt]:
    """Return the attempts at a run, none if it was never begun.

    Raises:
        InputError: The record is damaged.
    """
    path = f"{name}/{LEDGER}"
    content = _read(volume, path)
    return [] if content is None else parse_attempts(content.decode(errors="replace"), Path(path))


def check_idle(attempts: Sequence[Attempt], name: str) -> None:
    """Check that nobody seems to be working on a run; two machines would each spend what is left.

    Raises:
        InputError: By the record of its time, somebody is; after a kill this is so for two minutes and a half.
    """
    until = attempts[-1].until if attempts else None
    if until is not None and datetime.now(UTC) < until:
        raise InputError(f"another attempt at {name} is under way, by its record until {until:%H:%M:%S} UTC at least: "
                         "wait for its end; if it was killed, try again then")  # fmt: skip


def finished(volume: Volume, name: str) -> bool:
    """Whether a run is complete."""
    return _read(volume, f"{name}/{COPY}/{RESULT_FILE}") is not None


def fetch(volume: Volume, name: str, out: Path) -> Path | None:
    """Copy a run folder from the volume, in place of what was fetched of it earlier.

    Args:
        volume: The volume.
        name: The run's.
        out: The folder to copy it into.

    Returns:
        The run folder, to which the record of its costs was added; None if nothing is saved yet.

    Raises:
        InputError: The folder is there and was not fetched, or is in use.
    """
    if _read(volume, f"{name}/{COPY}/config.toml") is None:
        return None
    target, record = out / name, _read(volume, f"{name}/{LEDGER}")
    if target.exists() and not (target / LEDGER).is_file():
        raise InputError(f"{target} is there already and was not fetched: move it away, or name another folder (--out)")
    check_unused(target)
    out.mkdir(parents=True, exist_ok=True)
    root = PurePosixPath(name, COPY)
    with replacement(target) as unfinished:
        for entry in volume.iterdir(str(root), recursive=True):
            place = PurePosixPath(entry.path.lstrip("/")).relative_to(root)
            if entry.type != FILE or any(part.startswith(".") for part in place.parts):  # unfinished
                continue
            path = unfinished / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.writelines(volume.read_file(entry.path))
        (unfinished / LEDGER).write_bytes(record or b"[]\n")
    return target


def _read(volume: Volume, path: str) -> bytes | None:
    try:
        return b"".join(volume.read_file(path))
    except FileNotFoundError:
        return None
