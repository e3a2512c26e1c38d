"""Checksums of the files in a folder: who reads them knows that they are as they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SCHEMA = 1
SEAL = "checksums.json"
"""The file in a sealed folder."""
MODEL_FILES = (".json", ".jinja", ".model", ".safetensors", ".txt")
"""How the files of weights, configuration, tokenizer and chat template end."""


class DamagedError(ValueError):
    """A file is missing, cut off or changed since it was written; the message names it."""


def write_checksums(path: Path, files: Iterable[Path]) -> None:
    """Write size and SHA-256 of files to a JSON file beside or above them.

    Args:
        path: The file to write.
        files: Files in its folder, or in folders there.
    """
    listed = {file.relative_to(path.parent).as_posix(): _describe(file) for file in sorted(files)}
    path.write_text(json.dumps({"schema": SCHEMA, "files": listed}, allow_nan=False) + "\n", encoding="utf-8")


def listing(files: Iterable[Path]) -> bytes:
    """Return name and SHA-256 of every file, a line each, sorted: what tells one set of files from another."""
    return "".join(f"{file.name} {sha256_of(file)}\n" for file in sorted(files)).encode()


def seal(folder: Path) -> None:
    """Write the checksums of the files of a model in a folder into a file beside them.

    Others, such as a page about the model, may change.
    """
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix in MODEL_FILES and file.name != SEAL]
    write_checksums(folder / SEAL, files)


def verify_sealed(folder: Path) -> None:
    """Check a folder that `seal` has sealed; one without a seal passes.

    Raises:
        DamagedError: A file is missing or has changed; the message says what to do.
    """
    if not (folder / SEAL).is_file():
        return
    try:
        verify(folder / SEAL, str(folder))
    except DamagedError as error:
        raise DamagedError(f"{error}; restore it from a copy or, if it was changed on purpose, delete "
                           f"{folder / SEAL}") from error  # fmt: skip


def verify(
    path: Path, what: str, *, required: Iterable[str] = (), under: str = "", contents: bool = True
) -> None:  # fmt: skip
    """Check that every file that `write_checksums` listed is there as it was.

    Args:
        path: The file with the checksums.
        what: What to call the folder in messages, such as "checkpoint runs/mine/checkpoints/step-000100".
        required: Names that must be listed.
        under: Only files whose names begin so.
        contents: Whether to read the files; otherwise only their sizes are compared.

    Raises:
        DamagedError: A file is missing or has changed, or the list itself is damaged.
    """
    for name, entry in _listed(path, what, required).items():
        if not name.startswith(under):
            continue
        try:
            size = (path.parent / name).stat().st_size
            same = size == entry.get("size") and (not contents or sha256_of(path.parent / name) == entry.get("sha256"))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise DamagedError(f"{what} is damaged: {name} is missing") from error
        if size != entry.get("size"):
            raise DamagedError(f"{what} is damaged: {name} has {size} bytes instead of {entry.get('size')}")
        if not same:
            raise DamagedError(f"{what} is damaged: {name} has changed since it was written")


def _listed(path: Path, what: str, required: Iterable[str]) -> Mapping[str, dict[str, Any]]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedError(f"{what} is damaged: {path.name} is missing") from error
    except ValueError as error:  # not UTF-8 or not JSON
        raise DamagedError(f"{what} is damaged: {path.name} is not readable ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise DamagedError(f"{what} has a {path.name} that this version (schema {SCHEMA}) cannot read")
    files = record.get("files")
    if not isinstance(files, dict) or not all(isinstance(files.get(name), dict) for name in (*required, *files)):
        raise DamagedError(f"{what} is damaged: {path.name} does not list all files")
    return files


def _describe(file: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(file), "size": file.stat().st_size}


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
