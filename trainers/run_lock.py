"""One process at a time writes to a run folder: a lock that the kernel drops with the process, however it ends.

The lock file says who holds it. A file whose holder was killed, or whose machine lost power, locks nothing any more and
is taken over. Forked and started processes do not inherit the lock, so none that outlives a run keeps it in use.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from turngym._errors import InputError
from turngym.trainers.run_files import LOCK_FILE

if sys.platform != "win32":
    import fcntl

_held: set[int] = set()
"""Descriptors of the locks of this process."""


class RunInUse(InputError):
    """Another process writes to the run folder; the message says which, and what to do."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes, and other callers in this one, from writing to a run folder while the block runs.

    File systems of networks pass such locks on between machines as far as they are mounted with locks; on one that
    knows none, and on Windows, nothing is locked and the block runs.

    Args:
        folder: The run's; it must exist.

    Raises:
        RunInUse: Somebody else holds the lock.
        OSError: The folder cannot be written to.
    """
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)  # programs that are started do not get it
    _held.add(descriptor)
    try:
        _lock(descriptor, folder)
        os.truncate(descriptor, 0)
        os.write(descriptor, json.dumps(_this_process()).encode())
        try:
            yield
        finally:
            os.truncate(descriptor, 0)
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def check_unused(folder: Path) -> None:
    """Check that no process writes to a run folder; nothing is changed, and the folder need not exist.

    Raises:
        RunInUse: One does.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:  # nobody has ever written here, or nobody could
        return
    try:
        _lock(descriptor, folder, shared=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, *, shared: bool = False) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunInUse(_refusal(folder)) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise


def _this_process() -> dict[str, str | int]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}


def _refusal(folder: Path) -> str:
    try:
        holder = json.loads((folder / LOCK_FILE).read_text(encoding="utf-8"))
        who = f"process {int(holder['pid'])} on host {holder['host']!s:.99} since {holder['since']!s:.25}"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just taken the lock
        who = "another process"
    return (f"{folder} is in use by {who}: wait until it is done, or stop it and continue with: "
            f"turngym train --resume {shlex.quote(str(folder))}")  # fmt: skip


def _forget_in_child() -> None:
    """Close the locks in a forked process; the parent holds them on."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_in_child)
