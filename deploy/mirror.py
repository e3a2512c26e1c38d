"""A run folder on the disk of a container that may end at any moment, and its copy on a volume that stays.

The run itself is not written to the volume: it keeps a database with a log beside it and locks its folder, which file
systems of networks need not bear, and a container is killed in the middle of a copy as well as of anything else. So the
copy is made of parts that are whole or absent each, in an order in which a run can be resumed from whatever is there.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from turngym._durable import remove, remove_unfinished, replacement
from turngym.trainers.run_files import BASE, CHECKPOINTS, LOCK_FILE, REFERENCES, RESULT_FILE, SERVED, WARM_START

IN_PARTS = (BASE, REFERENCES, WARM_START, CHECKPOINTS)
LAST = (*IN_PARTS, RESULT_FILE)
"""Copied in this order, after the rest.

A checkpoint counts on the lines, episodes and models of the time before it, so it is copied only if it was there before
the first of them was copied; they may be newer than it, as after a kill. The result says that all is there.
"""
DATABASE, LOGS = ".sqlite", (".sqlite-wal", ".sqlite-shm", ".sqlite-journal")

Signature = tuple[tuple[str, int, int], ...]
"""Name, size and time of every file of a part, by which a change is known."""


class Mirror:
    """Keeps the copy of a run folder.

    Args:
        run: The run folder, to which another process may be writing.
        copy: The copy; its parent must exist.
        writing: Held while a file of the copy is open, so that the volume can be committed between two files.
    """

    def __init__(self, run: Path, copy: Path, writing: AbstractContextManager[object] | None = None) -> None:
        self._run, self._copy = run, copy
        self._writing = writing or nullcontext()
        self._copied: dict[Path, Signature] = {}

    def restore(self) -> None:
        """Put the copy, if there is one, in the place of the run folder; nobody may be writing to it."""
        shutil.rmtree(self._run, ignore_errors=True)
        self._run.parent.mkdir(parents=True, exist_ok=True)
        if not self._copy.is_dir():
            return
        for folder in (self._copy, *(self._copy / name for name in IN_PARTS)):
            remove_unfinished(folder)
        shutil.copytree(self._copy, self._run, ignore=shutil.ignore_patterns(".*"))
        self._copied = {part: signature(self._run / part) for part in parts(self._run)}

    def save(self) -> None:
        """Bring the copy up to date; what changes meanwhile is left for the next time.

        Raises:
            OSError: It cannot be written; what is there can be resumed from.
            sqlite3.Error: The same of a database.
        """
        if not self._run.is_dir():
            return
        self._copy.mkdir(exist_ok=True)
        listed = sorted(parts(self._run), key=_order)
        for part in listed:
            try:
                self._save(part)
            except OSError:
                if (self._run / part).exists():  # the run deletes checkpoints as it saves later ones
                    raise
        for part in set(parts(self._copy)) - set(listed):
            remove(self._copy / part)
            self._copied.pop(part, None)

    def _save(self, part: Path) -> None:
        now = signature(self._run / part)
        if self._copied.get(part) == now and (self._copy / part).exists():
            return
        (self._copy / part).parent.mkdir(parents=True, exist_ok=True)
        with replacement(self._copy / part) as unfinished:
            if (self._run / part).is_dir():  # databases in a checkpoint are at rest, and sealed as they are
                shutil.copytree(self._run / part, unfinished, copy_function=self._copy_file)
            elif part.suffix == DATABASE:
                with self._writing:
                    _copy_database(self._run / part, unfinished)
            else:
                self._copy_file(self._run / part, unfinished)
        self._copied[part] = now

    def _copy_file(self, source: str | Path, target: str | Path) -> None:
        with self._writing:
            shutil.copyfile(source, target)


def parts(folder: Path) -> Iterator[Path]:
    """Yield the parts of a run folder: the base, every checkpoint and the like, every other file.

    What a server plays is written anew for every step, and is none.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in (LOCK_FILE, SERVED) or path.name.endswith(LOGS):
            continue
        if path.name == BASE or not path.is_dir():
            yield path.relative_to(folder)
        elif path.name in IN_PARTS:
            yield from (inner.relative_to(folder) for inner in sorted(path.iterdir()) if inner.name[0] != ".")
        else:
            yield from (inner.relative_to(folder) for inner in sorted(path.rglob("*")) if inner.is_file())


def signature(path: Path) -> Signature:
    """Return what a change of a part changes, its log included if it is a database.

    Raises:
        FileNotFoundError: It is gone.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    if path.suffix == DATABASE:
        files += [log for log in [path.with_name(f"{path.name}-wal")] if log.exists()]
    found = ((str(file.relative_to(path.parent)), file.stat()) for file in files)
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


def _order(part: Path) -> tuple[int, str]:
    first = part.parts[0]
    return 1 + LAST.index(first) if first in LAST else 0, str(part)


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is between two of its transactions, with those that are in its log alone."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
