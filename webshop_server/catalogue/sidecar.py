"""Checksums of JSON files: one stands in a file beside, as the program `sha256sum` writes it, and is verified then."""

from __future__ import annotations

import os
import re
from pathlib import Path

from turngym._checksums import sha256_of
from turngym._durable import replacement
from turngym.webshop_server.catalogue.json_stream import CatalogueFileError

SIDECAR_SUFFIX = ".sha256"
_LINE = re.compile(rb"\\?(?P<checksum>[0-9a-f]{64}) [ *](?P<name>[^\n]+)\n?")


def sidecar_of(path: Path) -> Path:
    """Return where the checksum of a file stands, such as `items.json.sha256`."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def write_sidecar(path: Path) -> Path:
    """Write the checksum of a file beside it, and return where.

    Raises:
        OSError: The file cannot be read, or its folder not be written.
    """
    place = sidecar_of(path)
    name = _escaped_name(path)
    mark = "\\" if b"\\" in name else ""
    line = f"{mark}{sha256_of(path)}  ".encode() + name + b"\n"
    with replacement(place) as unfinished:
        unfinished.write_bytes(line)
    return place


def verify_sidecar(path: Path) -> None:
    """Compare a file with the checksum beside it, if there is one.

    Raises:
        CatalogueFileError: They differ, or one of them cannot be read.
    """
    place = sidecar_of(path)
    if not place.exists():
        return
    try:
        line = _LINE.fullmatch(place.read_bytes())
        found = sha256_of(path)
    except OSError as error:
        raise CatalogueFileError(f"{path} cannot be compared with its checksum: {error}") from error
    if line is None or line["name"] != _escaped_name(path):
        raise CatalogueFileError(f"{place} is no checksum of {path.name}; delete it, or make it with sha256sum")
    if line["checksum"].decode() != found:
        raise CatalogueFileError(f"{path} is damaged or was changed: it does not have the checksum of {place.name}")


def _escaped_name(path: Path) -> bytes:
    """Return the name of a file as `sha256sum` writes it: its bytes, without line breaks."""
    name = os.fsencode(path.name)
    for character, escape in ((b"\\", rb"\\"), (b"\n", rb"\n"), (b"\r", rb"\r")):
        name = name.replace(character, escape)
    return name
