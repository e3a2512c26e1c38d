"""A volume of the service that is a folder here, with the two functions that are asked of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE, DIRECTORY = 1, 2


@dataclass(frozen=True)
class Entry:
    path: str
    type: int


class Shelf:
    """Lists and reads as `modal.Volume` does.

    Args:
        folder: What it holds.
        slash: Whether the paths of entries begin with one.
    """

    def __init__(self, folder: Path, *, slash: bool = False) -> None:
        self.folder, self.slash = folder, slash

    def iterdir(self, path: str, *, recursive: bool = True) -> Iterator[Entry]:
        assert recursive
        for found in sorted((self.folder / path).rglob("*")):
            name = found.relative_to(self.folder).as_posix()
            yield Entry(path=f"/{name}" if self.slash else name, type=DIRECTORY if found.is_dir() else FILE)

    def read_file(self, path: str) -> Iterator[bytes]:
        content = (self.folder / path.lstrip("/")).read_bytes()  # FileNotFoundError, as there
        yield from (content[start : start + 3] for start in range(0, len(content), 3))
