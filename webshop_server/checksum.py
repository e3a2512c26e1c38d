"""Checksums of files, by which damage on the disk is found when they are opened.

CRC-32 finds every single flipped bit and every burst of up to 32, and others but for one in four billion. It guards
against faults of disks and copies, not against people.
"""

from __future__ import annotations

import zlib
from pathlib import Path

_CHUNK_BYTES = 1 << 18


def crc32_of(path: Path, size: int | None = None) -> str:
    """Return the CRC-32 of a file, or of its first `size` bytes, as 8 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    crc, left = 0, path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while chunk := file.read(min(_CHUNK_BYTES, left)):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return f"{crc:08x}"
