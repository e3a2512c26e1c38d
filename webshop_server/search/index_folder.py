"""The folder of a saved index: whole or absent, with a header of its engine, its documents and its checksums."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from turngym._durable import replacement
from turngym.webshop_server.checksum import crc32_of

HEADER = "index.json"


class SearchIndexError(ValueError):
    """A saved index cannot be used; the message says why and what to do."""


@contextmanager
def new_index_folder(folder: Path, *, form: str, fingerprint: str) -> Iterator[Path]:
    """Give a folder to write an index into; it takes the place of `folder` when all is written, and not before.

    Args:
        folder: Where the index will be; an older index there is replaced.
        form: Engine and version of what is written.
        fingerprint: What the documents are.

    Raises:
        OSError: The folder cannot be written.
        SearchIndexError: Something else is there.
    """
    check_place(folder)
    with replacement(folder) as unfinished:
        unfinished.mkdir()
        yield unfinished
        files = {path.name: crc32_of(path) for path in sorted(unfinished.iterdir())}
        header = json.dumps({"form": form, "fingerprint": fingerprint, "crc32": files}, separators=(",", ":"))
        (unfinished / HEADER).write_text(header, encoding="utf-8")


def check_place(folder: Path) -> None:
    """Raise the error with which an index could not be written to a folder, before the index is made.

    Raises:
        OSError: The folder cannot be written.
        SearchIndexError: Something else is there.
    """
    if folder.exists() and not (folder / HEADER).is_file():
        raise SearchIndexError(f"{folder} exists and is no index; name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    TemporaryDirectory(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent).cleanup()


def check_index_folder(folder: Path, *, form: str, fingerprint: str | None) -> str:
    """Return the fingerprint of the index in a folder; all files are read once and compared with their checksums.

    Args:
        folder: Where it is.
        form: Engine and version that it must be of.
        fingerprint: What the documents must be; None for any.

    Raises:
        SearchIndexError: There is no index, not this one, or a damaged one.
    """
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        made, documents = str(header["form"]), str(header["fingerprint"])
        if made != form:
            raise SearchIndexError(f"the index {folder} was made by another version or engine; make it anew")
        if fingerprint not in {None, documents}:
            raise SearchIndexError(f"the index {folder} is one over another catalogue; make it anew")
        for name, checksum in dict(header["crc32"]).items():
            if crc32_of(folder / name) != checksum:
                raise damaged(folder, f"{name} does not have the checksum that it was written with")
    except SearchIndexError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise damaged(folder) from error
    return documents


def damaged(folder: Path, reason: str = "") -> SearchIndexError:
    """Return the error to raise about a folder that cannot be read as an index."""
    return SearchIndexError(
        f"{folder} holds no index, or a damaged one{f' ({reason})' if reason else ''}; make it anew"
    )
