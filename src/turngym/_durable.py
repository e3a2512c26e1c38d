"""Files and folders that are whole or absent: written aside, synced to the disk, and renamed into place.

A process that is killed and a machine that loses power leave what stood there before, or what replaces it, and never a
half of either. Checkpoints, catalogues and search indexes are written this way.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

_UNFINISHED = ".tmp"
"""What the name of an unfinished or doomed file ends in; it begins with a dot, so that no reader takes it for whole."""


@contextmanager
def replacement(target: Path, *, aside: Path | None = None) -> Iterator[Path]:
    """Give a path to write a file or folder to; it takes the place of `target` when the block ends without an error.

    A file is replaced in one step. A folder cannot be: the older one is renamed to `aside`, the new one to `target`,
    and then the older one is deleted, so that one of them is there at any moment.

        with replacement(Path("shop.sqlite")) as unfinished:
            unfinished.write_bytes(content)

    Args:
        target: The file or folder; its parent must exist.
        aside: Where an older folder stands meanwhile, for readers that look there after a crash; a leftover there is
            deleted. A hidden name beside the target if None.

    Yields:
        A path beside the target at which nothing is yet: create a file or a folder there.

    Raises:
        OSError: It cannot be written or renamed; then `target` is as before.
    """
    unfinished = _hidden(target)
    try:
        yield unfinished
        sync_tree(unfinished)
        _put_in_place(unfinished, target, _hidden(target) if aside is None else aside)
    except BaseException:
        _delete(unfinished)
        raise


def remove(path: Path) -> None:
    """Delete a file or folder so that no reader meets a part of it: it first gets a name that none looks for.

    Raises:
        OSError: It cannot be renamed or deleted.
    """
    doomed = _hidden(path)
    path.rename(doomed)
    if doomed.is_dir():
        shutil.rmtree(doomed)
    else:
        doomed.unlink()


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Delete what processes that were killed left in a folder; nobody may be writing there.

    Args:
        folder: The parent of what was written.
        name: The name of the target, or a pattern of names such as `step-*`.
    """
    for path in folder.glob(f".{name}{_UNFINISHED}"):
        _delete(path)


def sync_tree(path: Path) -> None:
    """Make a file, or a folder with all that is in it, survive a loss of power."""
    for inner in path.rglob("*") if path.is_dir() else ():
        sync(inner)
    sync(path)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a loss of power."""
    if os.name == "nt":  # Windows syncs neither folders nor files open for reading
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(unfinished: Path, target: Path, aside: Path) -> None:
    if not (unfinished.is_dir() and target.is_dir()):
        unfinished.replace(target)
    else:
        if aside.exists():
            remove(aside)
        target.rename(aside)
        try:
            unfinished.rename(target)
        except BaseException:
            aside.rename(target)
            raise
    sync(target.parent)
    if aside.exists():
        remove(aside)


def _hidden(path: Path) -> Path:
    """Return a new name beside a path, such as `.shop.sqlite.1f2e3d4c.tmp`."""
    return path.with_name(f".{path.name}.{token_hex(4)}{_UNFINISHED}")


def _delete(path: Path) -> None:
    """Delete what may be there, as far as that is possible."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
