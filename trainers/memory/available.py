"""How much memory a device has left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path


def available_memory(device: str) -> int:
    """Return how much memory a device has left, bytes.

    On a card that is what the driver says. Of the memory of the processor it is what the kernel calls available, or
    what the limits of control groups leave, if that is less; memory of files that can be read again does not count as
    used. Where there is no such kernel it is all memory of the machine.

    Args:
        device: A device of torch.
    """
    if device.partition(":")[0] == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return processor_memory(Path("/"))


def processor_memory(root: Path) -> int:
    """Return how much memory the processor has left, bytes, by the files that the kernel shows under `root`."""
    rooms = [room for folder in _control_groups(root) if (room := _room(folder)) is not None]
    known = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if known:
        rooms.append(int(known[1]) * 1024)
    return max(0, min(rooms, default=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))


def _control_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups of this process and of those around them, of both versions."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, kinds, path = line.split(":", 2)
        if number != "0" and "memory" not in kinds.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if number != "0" else "")
        inner = top / path.strip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _room(folder: Path) -> int | None:
    """Return what the limit of a control group leaves, bytes; None where it has none."""
    for limit_name, used_name, cached_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _text(folder / limit_name).strip(), _text(folder / used_name).strip()
        if limit.isdecimal() and used.isdecimal():
            cached = re.search(rf"^{cached_name} (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
            return int(limit) - int(used) + (int(cached[1]) if cached else 0)
    return None


def _text(path: Path) -> str:
    """Return the content of a file, nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
